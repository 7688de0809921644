//! The remedies of private keys that cannot be used.

use crate::catalog::Text;

pub(super) const GIVE_PASSPHRASE: Text = Text {
    en: "give the store the passphrase of the key with the key",
    zh: "为镜像服务器提供密钥时，一并提供私钥口令",
};

pub(super) const CORRECT_PASSPHRASE: Text = Text {
    en: "correct the passphrase of the key; if it is right, the text of the key was changed",
    zh: "更正私钥口令；若口令正确，则密钥文本已被改动",
};

pub(super) const GIVE_PRIVATE_PART: Text = Text {
    en: "give the file without the suffix .pub: the private key that belongs to it",
    zh: "提供不带 .pub 后缀的文件：与之对应的私钥",
};

pub(super) const CONVERT_PUTTY_KEY: Text = Text {
    en: "convert the key: `puttygen KEY -O private-openssh -o NEWKEY`",
    zh: "转换密钥格式：`puttygen KEY -O private-openssh -o NEWKEY`",
};

pub(super) const CONVERT_SSH_COM_KEY: Text = Text {
    en: "convert the key: `ssh-keygen -i -f KEY > NEWKEY`",
    zh: "转换密钥格式：`ssh-keygen -i -f KEY > NEWKEY`",
};

pub(super) const CONVERT_BINARY_KEY: Text = Text {
    en: "convert the key: `openssl pkcs12 -in FILE -nocerts -out NEWKEY` for PKCS#12, or `openssl pkey -inform DER -in FILE -out NEWKEY` for DER",
    zh: "转换密钥格式：PKCS#12 用 `openssl pkcs12 -in FILE -nocerts -out NEWKEY`，DER 用 `openssl pkey -inform DER -in FILE -out NEWKEY`",
};

pub(super) const KEEP_LINE_BREAKS: Text = Text {
    en: "give the text of the key file with its line breaks (in JSON: `\\n`)",
    zh: "提供密钥文件的文本时保留换行（在 JSON 中为 `\\n`）",
};

pub(super) const GIVE_WHOLE_KEY: Text =
    Text { en: "give the whole text of the key file", zh: "提供密钥文件的完整文本" };

pub(super) const USE_OTHER_KEY_TYPE: Text = Text {
    en: "give the store an ed25519, ecdsa or rsa key: `ssh-keygen -t ed25519`",
    zh: "为镜像服务器提供 ed25519、ecdsa 或 rsa 密钥：`ssh-keygen -t ed25519`",
};

pub(super) const REENCRYPT_KEY: Text = Text {
    en: "encrypt the key with another cipher: `ssh-keygen -p -f KEY`",
    zh: "用另一种算法加密密钥：`ssh-keygen -p -f KEY`",
};

pub(super) const REENCRYPT_PKCS8_KEY: Text = Text {
    en: "encrypt the key with another cipher: `openssl pkcs8 -topk8 -v2 aes-256-cbc -in KEY -out NEWKEY`",
    zh: "用另一种算法加密密钥：`openssl pkcs8 -topk8 -v2 aes-256-cbc -in KEY -out NEWKEY`",
};

pub(super) const USE_FEWER_ROUNDS: Text = Text {
    en: "encrypt the key with fewer rounds: `ssh-keygen -p -a 16 -f KEY`",
    zh: "用更少的轮数加密密钥：`ssh-keygen -p -a 16 -f KEY`",
};
