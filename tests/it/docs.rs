//! The tables of the documents, compared with the program.

use std::collections::{BTreeMap, BTreeSet};
use std::fs;
use std::path::{Path, PathBuf};

use clap::Parser as _;
use imagestore_agent::app::ExitStatus;
use imagestore_agent::catalog::{
    CheckCase, DoctorCheck, ExitCause, Guidance, KNOWN_MESSAGES, Language, PROGRAMS, Runbook, Text,
    ZstackCode, condition_guidance, reason_guidance, remedy_text,
};
use imagestore_agent::cli::Args;
use imagestore_agent::http::AuditAction;
use imagestore_agent::model::{Check, Condition, Reason, Remedy};
use imagestore_agent::wire::MAX_BODY_BYTES;

fn text(name: &str) -> String {
    fs::read_to_string(Path::new(env!("CARGO_MANIFEST_DIR")).join(name)).unwrap()
}

/// Returns the paths of the documents.
fn documents() -> Vec<PathBuf> {
    let root = Path::new(env!("CARGO_MANIFEST_DIR"));
    let mut files: Vec<_> = ["README.md", "CONTRIBUTING.md", "SECURITY.md", "CHANGELOG.md"]
        .map(|name| root.join(name))
        .into();
    for folder in ["docs", "docs/decisions"] {
        let entries = fs::read_dir(root.join(folder)).unwrap().map(|entry| entry.unwrap().path());
        files.extend(entries.filter(|path| path.extension().is_some_and(|e| e == "md")));
    }
    files
}

/// Returns the cells of each row whose first cell is a word in backticks.
fn rows(text: &str) -> Vec<Vec<String>> {
    let rows = text.lines().filter(|line| line.starts_with("| `"));
    let cells = |line: &str| {
        line.trim_matches('|').split(" | ").map(|cell| cell.trim().to_owned()).collect()
    };
    rows.map(cells).collect()
}

#[test]
fn every_reason_has_its_row_with_pace_and_remedy() {
    let documented: BTreeMap<String, (String, String)> = rows(&text("docs/faults.md"))
        .into_iter()
        .filter(|row| row.len() == 4)
        .map(|row| (row[0].trim_matches('`').to_owned(), (row[2].clone(), row[3].clone())))
        .collect();
    let program = Reason::ALL.iter().map(|reason| {
        let pace = if reason.is_soft() { "soft" } else { "hard" };
        let action = reason_guidance(*reason).action.plain(Language::English).into_owned();
        (reason.as_str().to_owned(), (pace.to_owned(), action))
    });
    assert_eq!(documented, program.collect());
}

#[test]
fn every_condition_has_its_row_with_its_remedy() {
    let documented: BTreeMap<String, String> = rows(&text("docs/faults.md"))
        .into_iter()
        .filter(|row| row.len() == 3)
        .map(|row| (row[0].trim_matches('`').to_owned(), row[2].clone()))
        .collect();
    let program = Condition::ALL.iter().map(|condition| {
        let action = condition_guidance(*condition).action.plain(Language::English).into_owned();
        (condition.as_str().to_owned(), action)
    });
    assert_eq!(documented, program.collect());
}

#[test]
fn every_exit_code_is_explained() {
    let exits = [
        ExitStatus::Ok,
        ExitStatus::Failed,
        ExitStatus::Usage,
        ExitStatus::Settings,
        ExitStatus::Ledger,
        ExitStatus::Bind,
        ExitStatus::Internal,
        ExitStatus::Locked,
        ExitStatus::Interrupted,
        ExitStatus::Terminated,
    ];
    let exits: Vec<String> = exits.iter().map(|exit| (*exit as u8).to_string()).collect();
    assert_eq!(exits, ExitCause::ALL.iter().map(|cause| cause.as_str()).collect::<Vec<_>>());
    let documented = text("docs/operations.md");
    for cause in &ExitCause::ALL[3..8] {
        assert!(documented.contains(&format!("\n| {cause} | ")), "{cause}");
    }
    assert!(documented.contains("130 or 143"));
}

#[test]
fn the_actions_of_the_audit_log_are_listed() {
    let api = text("docs/http-api.md");
    let (_, list) = api.split_once("\n`action` is ").unwrap();
    let (list, _) = list.split_once(". ").unwrap();
    let listed: BTreeSet<&str> = list.split('`').skip(1).step_by(2).collect();
    assert_eq!(listed, AuditAction::ALL.iter().map(|action| action.as_str()).collect());
}

/// Returns every text of the catalog.
fn catalog_texts() -> Vec<Text> {
    let reasons = Reason::ALL.iter().map(|reason| reason_guidance(*reason));
    let conditions = Condition::ALL.iter().map(|condition| condition_guidance(*condition));
    let checks = DoctorCheck::ALL.iter().map(|check| check.guidance());
    let checks = checks.chain(CheckCase::ALL.iter().map(|case| case.guidance()));
    let of_guidance = |it: Guidance| [it.meaning, it.impact, it.action];
    let mut texts: Vec<Text> =
        reasons.chain(conditions).chain(checks).flat_map(of_guidance).collect();
    let exits = ExitCause::ALL.iter().map(|it| it.advice());
    let codes = ZstackCode::ALL.iter().map(|it| it.advice());
    texts.extend(exits.chain(codes).flat_map(|it| [it.meaning, it.action]));
    texts.extend(Remedy::WORDS.iter().map(|word| {
        let remedy = Remedy::from_parts(word, |operand| Some(operand.to_owned()));
        remedy_text(&remedy.unwrap())
    }));
    texts.extend(KNOWN_MESSAGES.iter().flat_map(|it| [it.meaning, it.action]));
    for text in Runbook::ALL.iter().map(|it| it.text()) {
        texts.extend([text.title, text.situation]);
        texts.extend(text.steps);
    }
    texts
}

/// Returns a value in place of each placeholder of a command.
fn with_values(command: &str) -> Vec<&str> {
    let value = |word| match word {
        "STORE" | "NAME" => "images",
        "UUID" => "4cd9fb914f5f4a1d8d2f000000000001",
        "DIRECTORY" | "FILE" => "/data/images",
        "HOST" | "ADDRESS" => "192.0.2.7",
        "USER" => "storage",
        "REASON" => "not_mounted",
        // An operand of a remedy of one case.
        "{dir}" => "/data/images",
        _ => word,
    };
    let words: Vec<&str> = command.split(' ').map(value).collect();
    let is_placeholder = |word: &&str| word.bytes().all(|byte| byte.is_ascii_uppercase());
    assert!(!words.iter().any(is_placeholder), "{command}: a placeholder without a value");
    words
}

#[test]
fn the_commands_in_the_texts_are_complete() {
    let texts = catalog_texts();
    let commands: BTreeSet<&str> = texts.iter().flat_map(|text| text.commands()).collect();
    let own: Vec<&&str> =
        commands.iter().filter(|it| it.starts_with("imagestore-agent ")).collect();
    assert!(own.len() > 10, "{own:?}");
    for command in own {
        // `help` is answered by clap, as an error with the exit code 0.
        if let Err(error) = Args::try_parse_from(with_values(command)) {
            assert_eq!(error.exit_code(), 0, "{command}: {error}");
        }
    }
    // What the command line cannot know: each of these programs needs an operand.
    const WITH_OPERAND: [&str; 13] = [
        "chattr",
        "chown",
        "fsck",
        "lsattr",
        "openssl",
        "puttygen",
        "resize2fs",
        "setfacl",
        "smartctl",
        "ssh-keygen",
        "umount",
        "xfs_growfs",
        "xfs_repair",
    ];
    for program in WITH_OPERAND {
        for command in commands.iter().filter(|it| it.split(' ').next() == Some(program)) {
            let last = command.split(' ').next_back().unwrap();
            let is_operand = last != program && !last.starts_with('-');
            assert!(is_operand, "{command}: an operand is missing");
        }
    }
}

#[test]
fn every_program_of_the_texts_is_called_in_one() {
    let texts = catalog_texts();
    let called: BTreeSet<&str> = texts
        .iter()
        .flat_map(|text| text.commands())
        .filter_map(|it| it.split(' ').next())
        .collect();
    assert_eq!(PROGRAMS.into_iter().collect::<BTreeSet<_>>(), called);
}

#[test]
fn the_settings_in_the_texts_exist() {
    let example = text("config/agent.toml");
    let mut section = String::new();
    let mut settings = BTreeSet::new();
    for line in example.lines().map(|line| line.trim_start_matches('#')) {
        if let Some(name) = line.strip_prefix('[').and_then(|rest| rest.strip_suffix(']')) {
            section = name.to_owned();
        } else if let Some((key, _)) = line.split_once(" = ") {
            settings.insert(format!("{section}.{key}"));
        }
    }
    let sections = ["api", "auth", "callback", "monitor", "server", "ssh", "state", "storage"];
    let mut named = 0;
    for text in catalog_texts() {
        for span in text.en.split('`').skip(1).step_by(2) {
            let setting = span.split(' ').next().unwrap();
            let is_setting = setting.split_once('.').is_some_and(|(s, _)| sections.contains(&s));
            if is_setting {
                let known = settings.iter().any(|it| it == setting)
                    || settings.iter().any(|it| it.starts_with(&format!("{setting}.")));
                assert!(known, "{setting} in {:?}", text.en);
                named += 1;
            }
        }
    }
    assert!(named > 30, "only {named} settings found");
}

#[test]
fn the_size_of_the_largest_body_is_documented() {
    let (thousands, rest) = (MAX_BODY_BYTES / 1000, MAX_BODY_BYTES % 1000);
    let size = format!("{},{:03},{rest:03} bytes", thousands / 1000, thousands % 1000);
    let found = text("docs/http-api.md").matches(&size).count();
    assert_eq!(found, 2, "docs/http-api.md must have {size:?} in its limits and its statuses");
}

/// Adds the paths of all folders below `folder` that contain sources, relative to `src`.
fn collect_folders(folder: &Path, src: &Path, found: &mut BTreeSet<String>) {
    for entry in fs::read_dir(folder).unwrap().map(|entry| entry.unwrap().path()) {
        if entry.is_dir() {
            let is_source = |path: &Path| path.extension().is_some_and(|e| e == "rs");
            let mut files = fs::read_dir(&entry).unwrap().map(|file| file.unwrap().path());
            if files.any(|file| is_source(&file)) {
                found.insert(entry.strip_prefix(src).unwrap().to_str().unwrap().to_owned());
            }
            collect_folders(&entry, src, found);
        }
    }
}

#[test]
fn every_folder_of_a_module_is_described() {
    let src = Path::new(env!("CARGO_MANIFEST_DIR")).join("src");
    let mut found = BTreeSet::new();
    collect_folders(&src, &src, &mut found);
    found.retain(|folder| folder.contains('/'));
    let text = text("docs/architecture.md");
    let folders = text.split_once("\nsrc/\n").unwrap().1;
    let described: BTreeSet<String> = folders
        .lines()
        .map_while(|line| line.strip_prefix("  ")?.split_once("/ "))
        .map(|(folder, _)| folder.to_owned())
        .collect();
    assert_eq!(described, found);
}

#[test]
fn the_sources_that_the_architecture_names_exist() {
    let root = Path::new(env!("CARGO_MANIFEST_DIR"));
    let page = text("docs/architecture.md");
    let is_path = |span: &&str| span.ends_with(".rs") && span.contains('/') && !span.contains(' ');
    let paths: BTreeSet<&str> =
        page.lines().flat_map(|line| line.split('`').skip(1).step_by(2)).filter(is_path).collect();
    assert!(paths.len() > 100, "only {} paths found", paths.len());
    let exists = |path: &&str| match path.starts_with("tests/") {
        true => root.join(path).is_file(),
        false => root.join("src").join(path).is_file(),
    };
    let lost: Vec<_> = paths.into_iter().filter(|path| !exists(path)).collect();
    assert_eq!(lost, [""; 0]);
}

#[test]
fn the_readmes_have_the_number_of_the_reasons_of_a_login() {
    let of_login = Reason::ALL.iter().filter(|it| it.failed_check() == Check::Ssh).count();
    assert!(text("README.md").contains(&format!("[{of_login} reasons](docs/faults.md)")));
    let chinese = text("README.zh-CN.md");
    assert!(chinese.contains(&format!("[{of_login} 种原因](docs/zh/faults.md)")));
}

/// Returns the lines of prose that are too long: not those of tables and of code.
fn long_lines(text: &str) -> Vec<&str> {
    let mut is_code = false;
    let is_long = |line: &&str| {
        is_code ^= line.trim_start().starts_with("```");
        !is_code && !line.starts_with(['|', '#']) && line.chars().count() > 120
    };
    text.lines().filter(is_long).collect()
}

#[test]
fn prose_fits_the_window() {
    for file in documents() {
        let text = fs::read_to_string(&file).unwrap();
        assert_eq!(long_lines(&text), [""; 0], "{}", file.display());
    }
}

#[test]
fn every_link_between_documents_leads_somewhere() {
    let files = documents();
    let mut links = 0;
    for file in &files {
        let text = fs::read_to_string(file).unwrap();
        for link in text.split("](").skip(1).filter_map(|rest| rest.split(')').next()) {
            if link.starts_with("http") || link.starts_with('#') {
                continue;
            }
            let target = link.split('#').next().unwrap();
            assert!(file.parent().unwrap().join(target).exists(), "{}: {link}", file.display());
            links += 1;
        }
    }
    assert!(links > 10, "only {links} links found");
}

/// Returns the commands of the code blocks, without their comments.
fn block_commands(text: &str) -> Vec<String> {
    let mut is_block = false;
    let mut commands = Vec::new();
    for line in text.lines() {
        is_block ^= line.starts_with("```");
        if (is_block && !line.starts_with("```")) || line.starts_with("    ") {
            let command = line.split("  # ").next().unwrap_or(line);
            commands.push(command.split("    # ").next().unwrap_or(command).trim().to_owned());
        }
    }
    commands
}

/// Returns what must not be translated: the words in backticks and the targets of links.
fn fixed_words(text: &str) -> BTreeSet<String> {
    let prose = text.lines().filter(|line| !line.starts_with("```"));
    let prose: String = prose.map(|line| format!("{line} ")).collect();
    let words = prose.split('`').skip(1).step_by(2).map(str::to_owned);
    let links = prose.split("](").skip(1).filter_map(|rest| rest.split(')').next());
    let is_own = |link: &&str| !link.starts_with("README");
    words.chain(links.filter(is_own).map(str::to_owned)).collect()
}

#[test]
fn the_chinese_readme_has_the_commands_words_and_links_of_the_english_one() {
    let (english, chinese) = (text("README.md"), text("README.zh-CN.md"));
    assert_eq!(block_commands(&chinese), block_commands(&english));
    assert!(block_commands(&english).len() >= 8, "{:?}", block_commands(&english));
    assert_eq!(fixed_words(&chinese), fixed_words(&english));
    let lines = |text: &str, start: &str| text.lines().filter(|it| it.starts_with(start)).count();
    for start in ["#", "| ", "* ", "1.", "2.", "3.", "4.", "5."] {
        assert_eq!(lines(&chinese, start), lines(&english, start), "{start}");
    }
    for link in fixed_words(&chinese).iter().filter(|word| word.ends_with(".md")) {
        assert!(Path::new(env!("CARGO_MANIFEST_DIR")).join(link).exists(), "{link}");
    }
}
