//! An SSH server that sends given messages at one moment of a session, for messages that no server
//! library sends. It has one algorithm of each kind: curve25519-sha256, ssh-ed25519, aes256-gcm.

use std::net::SocketAddr;
use std::sync::Arc;
use std::sync::atomic::{AtomicUsize, Ordering};

use ring::aead::{AES_256_GCM, Aad, LessSafeKey, Nonce, UnboundKey};
use ring::agreement::{EphemeralPrivateKey, UnparsedPublicKey, X25519, agree_ephemeral};
use ring::digest::{SHA256, digest};
use ring::rand::SystemRandom;
use ring::signature::{Ed25519KeyPair, KeyPair as _};
use tokio::io::{AsyncBufReadExt as _, AsyncReadExt as _, AsyncWriteExt as _, BufReader};
use tokio::net::{TcpListener, TcpStream};
use tokio::task::JoinSet;

const IDENTIFICATION: &str = "SSH-2.0-scripted";

const DISCONNECT: u8 = 1;
const SERVICE_REQUEST: u8 = 5;
const SERVICE_ACCEPT: u8 = 6;
const KEXINIT: u8 = 20;
const NEWKEYS: u8 = 21;
const KEX_ECDH_INIT: u8 = 30;
const KEX_ECDH_REPLY: u8 = 31;
const KEX_DH_GEX_GROUP: u8 = 31;
const USERAUTH_REQUEST: u8 = 50;
const USERAUTH_FAILURE: u8 = 51;
const USERAUTH_SUCCESS: u8 = 52;
const USERAUTH_BANNER: u8 = 53;
const USERAUTH_PASSWD_CHANGEREQ: u8 = 60;
const CHANNEL_OPEN: u8 = 90;

/// The moment at which a server sends its messages. The session stays open after them.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub(crate) enum Moment {
    /// In place of the key exchange.
    KeyExchange,
    /// In place of the answer to the request for the service.
    Service,
    /// In place of the answer to each login.
    Login,
    /// In place of the answer to a request for a channel. Every login is accepted.
    Channel,
}

/// Returns `SSH_MSG_DISCONNECT`.
pub(crate) fn disconnect(code: u32, message: &[u8]) -> Vec<u8> {
    [vec![DISCONNECT], code.to_be_bytes().to_vec(), string(message), string(b"de")].concat()
}

/// Returns `SSH_MSG_USERAUTH_BANNER`.
pub(crate) fn banner(text: &[u8]) -> Vec<u8> {
    [vec![USERAUTH_BANNER], string(text), string(b"de")].concat()
}

/// Returns `SSH_MSG_USERAUTH_FAILURE` that offers the password only.
pub(crate) fn failure() -> Vec<u8> {
    [vec![USERAUTH_FAILURE], string(b"password"), vec![0]].concat()
}

/// Returns `SSH_MSG_USERAUTH_PASSWD_CHANGEREQ`.
pub(crate) fn password_change_request(prompt: &str) -> Vec<u8> {
    [vec![USERAUTH_PASSWD_CHANGEREQ], string(prompt.as_bytes()), string(b"de")].concat()
}

/// Returns `SSH_MSG_KEXINIT` with one algorithm of each kind.
pub(crate) fn kex_init(kex: &str, host_key: &str) -> Vec<u8> {
    let (cipher, mac) = ("aes256-gcm@openssh.com", "hmac-sha2-256");
    let names = [kex, host_key, cipher, cipher, mac, mac, "none", "none", "", ""];
    let names = names.map(|names| string(names.as_bytes())).concat();
    [vec![KEXINIT], vec![7; 16], names, vec![0; 5]].concat()
}

/// Returns `SSH_MSG_KEX_DH_GEX_GROUP` with a number of this size in place of the prime.
pub(crate) fn negotiated_group(bits: usize) -> Vec<u8> {
    [vec![KEX_DH_GEX_GROUP], mpint(&vec![0xff; bits / 8]), mpint(&[2])].concat()
}

/// A server on a free port of 127.0.0.1. It stops when dropped.
#[derive(Debug)]
pub(crate) struct RawSshServer {
    pub(crate) address: SocketAddr,
    logins: Arc<AtomicUsize>,
    _server: JoinSet<()>,
}

impl RawSshServer {
    /// Starts a server that answers each login with a disconnect.
    pub(crate) async fn disconnecting(code: u32, message: &str) -> Self {
        Self::sending(Moment::Login, vec![disconnect(code, message.as_bytes())]).await
    }

    /// Starts a server that answers each login with a request for a new password.
    pub(crate) async fn requesting_new_password(prompt: &str) -> Self {
        Self::sending(Moment::Login, vec![password_change_request(prompt)]).await
    }

    /// Starts a server whose host key is an RSA key of this size, with a wrong signature.
    pub(crate) async fn with_rsa_host_key(bits: usize, exponent: &'static [u8]) -> Self {
        Self::start(HostKey::Rsa { bits, exponent }, Moment::Login, Vec::new()).await
    }

    /// Starts a server that sends these messages.
    pub(crate) async fn sending(moment: Moment, messages: Vec<Vec<u8>>) -> Self {
        Self::start(HostKey::Ed25519, moment, messages).await
    }

    async fn start(host_key: HostKey, moment: Moment, messages: Vec<Vec<u8>>) -> Self {
        let listener = TcpListener::bind("127.0.0.1:0").await.unwrap();
        let address = listener.local_addr().unwrap();
        let logins = Arc::new(AtomicUsize::new(0));
        let (messages, counter) = (Arc::new(messages), Arc::clone(&logins));
        let mut server = JoinSet::new();
        server.spawn(async move {
            let mut sessions = JoinSet::new();
            loop {
                let (tcp, _) = listener.accept().await.unwrap();
                let (messages, counter) = (Arc::clone(&messages), Arc::clone(&counter));
                sessions.spawn(async move {
                    // The client judges the end of the session.
                    let _ = serve(tcp, host_key, moment, &messages, &counter).await;
                });
            }
        });
        Self { address, logins, _server: server }
    }

    /// Returns the number of logins so far.
    pub(crate) fn logins(&self) -> usize {
        self.logins.load(Ordering::Relaxed)
    }
}

/// The host key of a server.
#[derive(Clone, Copy)]
enum HostKey {
    Ed25519,
    Rsa { bits: usize, exponent: &'static [u8] },
}

impl HostKey {
    fn algorithm(self) -> &'static str {
        match self {
            Self::Ed25519 => "ssh-ed25519",
            Self::Rsa { .. } => "rsa-sha2-512",
        }
    }
}

async fn serve(
    tcp: TcpStream,
    host_key: HostKey,
    moment: Moment,
    messages: &[Vec<u8>],
    logins: &AtomicUsize,
) -> std::io::Result<()> {
    if moment == Moment::KeyExchange {
        return send_before_keys(tcp, messages).await;
    }
    let mut session = Session::exchange_keys(tcp, host_key).await?;
    loop {
        let packet = session.receive().await?;
        let (moment_of_packet, usual) = match packet.first() {
            Some(&SERVICE_REQUEST) => {
                (Moment::Service, [vec![SERVICE_ACCEPT], string(b"ssh-userauth")].concat())
            }
            Some(&USERAUTH_REQUEST) => {
                logins.fetch_add(1, Ordering::Relaxed);
                (Moment::Login, vec![USERAUTH_SUCCESS])
            }
            Some(&CHANNEL_OPEN) => (Moment::Channel, Vec::new()),
            _ => continue,
        };
        if moment_of_packet == moment {
            for message in messages {
                session.send(message).await?;
            }
        } else {
            session.send(&usual).await?;
        }
    }
}

async fn send_before_keys(tcp: TcpStream, messages: &[Vec<u8>]) -> std::io::Result<()> {
    let mut tcp = BufReader::new(tcp);
    tcp.write_all(format!("{IDENTIFICATION}\r\n").as_bytes()).await?;
    for message in messages {
        send_clear(&mut tcp, message).await?;
    }
    // The client ends the connection.
    while !tcp.fill_buf().await?.is_empty() {
        let length = tcp.buffer().len();
        tcp.consume(length);
    }
    Ok(())
}

/// The keys of one direction.
struct Direction {
    key: LessSafeKey,
    iv: [u8; 12],
}

impl Direction {
    fn new(derive: impl Fn(u8) -> Vec<u8>, iv: u8, key: u8) -> Self {
        let key = LessSafeKey::new(UnboundKey::new(&AES_256_GCM, &derive(key)).unwrap());
        Self { key, iv: derive(iv)[..12].try_into().unwrap() }
    }

    /// Returns the nonce of the next packet (RFC 5647 section 7.1).
    fn next_nonce(&mut self) -> Nonce {
        let nonce = Nonce::assume_unique_for_key(self.iv);
        let counter = u64::from_be_bytes(self.iv[4..].try_into().unwrap()).wrapping_add(1);
        self.iv[4..].copy_from_slice(&counter.to_be_bytes());
        nonce
    }
}

struct Session {
    tcp: BufReader<TcpStream>,
    sending: Direction,
    receiving: Direction,
}

impl Session {
    async fn exchange_keys(tcp: TcpStream, kind: HostKey) -> std::io::Result<Self> {
        let mut tcp = BufReader::new(tcp);
        tcp.write_all(format!("{IDENTIFICATION}\r\n").as_bytes()).await?;
        let mut client_id = String::new();
        tcp.read_line(&mut client_id).await?;
        let server_init = kex_init("curve25519-sha256", kind.algorithm());
        send_clear(&mut tcp, &server_init).await?;
        let client_init = receive_clear(&mut tcp).await?;
        let ecdh_init = receive_clear(&mut tcp).await?;
        assert_eq!((client_init[0], ecdh_init[0]), (KEXINIT, KEX_ECDH_INIT));
        let client_key = ecdh_init[5..].to_vec();

        let rng = SystemRandom::new();
        let private = EphemeralPrivateKey::generate(&X25519, &rng).unwrap();
        let server_key = private.compute_public_key().unwrap();
        let peer_key = UnparsedPublicKey::new(&X25519, &client_key);
        let shared = agree_ephemeral(private, &peer_key, mpint).unwrap();
        let host_key =
            Ed25519KeyPair::from_pkcs8(Ed25519KeyPair::generate_pkcs8(&rng).unwrap().as_ref())
                .unwrap();
        let host_blob = match kind {
            HostKey::Ed25519 => {
                vec![string(b"ssh-ed25519"), string(host_key.public_key().as_ref())]
            }
            HostKey::Rsa { bits, exponent } => {
                vec![string(b"ssh-rsa"), mpint(exponent), mpint(&vec![0xff; bits / 8])]
            }
        }
        .concat();
        let exchanged = [
            string(client_id.trim_end().as_bytes()),
            string(IDENTIFICATION.as_bytes()),
            string(&client_init),
            string(&server_init),
            string(&host_blob),
            string(&client_key),
            string(server_key.as_ref()),
            shared.clone(),
        ];
        let hash = digest(&SHA256, &exchanged.concat()).as_ref().to_vec();
        let signature = match kind {
            HostKey::Ed25519 => host_key.sign(&hash).as_ref().to_vec(),
            HostKey::Rsa { bits, .. } => vec![1; bits / 8],
        };
        let signature = [string(kind.algorithm().as_bytes()), string(&signature)].concat();
        let reply = [
            vec![KEX_ECDH_REPLY],
            string(&host_blob),
            string(server_key.as_ref()),
            string(&signature),
        ];
        send_clear(&mut tcp, &reply.concat()).await?;
        send_clear(&mut tcp, &[NEWKEYS]).await?;
        assert_eq!(receive_clear(&mut tcp).await?, [NEWKEYS]);
        let derive = |letter: u8| {
            let input = [shared.clone(), hash.clone(), vec![letter], hash.clone()].concat();
            digest(&SHA256, &input).as_ref().to_vec()
        };
        let receiving = Direction::new(derive, b'A', b'C');
        let sending = Direction::new(derive, b'B', b'D');
        Ok(Self { tcp, sending, receiving })
    }

    async fn send(&mut self, payload: &[u8]) -> std::io::Result<()> {
        let mut packet = pad(payload, 0);
        let length = u32::try_from(packet.len()).unwrap().to_be_bytes();
        let nonce = self.sending.next_nonce();
        self.sending.key.seal_in_place_append_tag(nonce, Aad::from(length), &mut packet).unwrap();
        self.tcp.write_all(&[&length[..], &packet].concat()).await
    }

    async fn receive(&mut self) -> std::io::Result<Vec<u8>> {
        let mut length = [0; 4];
        self.tcp.read_exact(&mut length).await?;
        let mut packet = vec![0; usize::try_from(u32::from_be_bytes(length)).unwrap() + 16];
        self.tcp.read_exact(&mut packet).await?;
        let nonce = self.receiving.next_nonce();
        let packet =
            self.receiving.key.open_in_place(nonce, Aad::from(length), &mut packet).unwrap();
        Ok(unpad(packet))
    }
}

async fn send_clear(tcp: &mut BufReader<TcpStream>, payload: &[u8]) -> std::io::Result<()> {
    let packet = pad(payload, 4);
    let length = u32::try_from(packet.len()).unwrap().to_be_bytes();
    tcp.write_all(&[&length[..], &packet].concat()).await
}

async fn receive_clear(tcp: &mut BufReader<TcpStream>) -> std::io::Result<Vec<u8>> {
    let length = tcp.read_u32().await?;
    let mut packet = vec![0; usize::try_from(length).unwrap()];
    tcp.read_exact(&mut packet).await?;
    Ok(unpad(&packet))
}

/// Returns the padded packet without its length. `header` of the bytes before it also count towards
/// the block size.
fn pad(payload: &[u8], header: usize) -> Vec<u8> {
    let mut padding = 16 - (header + 1 + payload.len()) % 16;
    if padding < 4 {
        padding += 16;
    }
    [vec![u8::try_from(padding).unwrap()], payload.to_vec(), vec![0; padding]].concat()
}

fn unpad(packet: &[u8]) -> Vec<u8> {
    packet[1..packet.len() - usize::from(packet[0])].to_vec()
}

fn string(bytes: &[u8]) -> Vec<u8> {
    [&u32::try_from(bytes.len()).unwrap().to_be_bytes()[..], bytes].concat()
}

fn mpint(bytes: &[u8]) -> Vec<u8> {
    let start = bytes.iter().position(|&byte| byte != 0).unwrap_or(bytes.len());
    let sign = if bytes[start] >= 0x80 { &[0][..] } else { &[] };
    string(&[sign, &bytes[start..]].concat())
}
