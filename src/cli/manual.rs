//! Shell completions and manual pages for packages, generated from the texts of `--help`.

use std::io;

use clap::CommandFactory as _;
use clap_complete::Shell;
use clap_mangen::Man;

use super::args::Args;

/// Returns the completions for a shell.
pub fn shell_completions(shell: Shell) -> Vec<u8> {
    let mut text = Vec::new();
    clap_complete::generate(shell, &mut Args::command(), "imagestore-agent", &mut text);
    text
}

/// Returns the manual page (`man-pages(7)`) of the program or of one of its commands.
///
/// # Errors
/// Returns an error if the command does not exist.
pub fn manual_page(command: Option<&str>) -> io::Result<Vec<u8>> {
    let mut all = Args::command();
    // Sets the full name of each command, and adds the global options to it.
    all.build();
    let mut page = Vec::new();
    let Some(name) = command else {
        Man::new(all).render(&mut page)?;
        return Ok(page);
    };
    let unknown = || io::Error::new(io::ErrorKind::NotFound, format!("unknown command {name:?}"));
    let found = all.find_subcommand(name).ok_or_else(unknown)?;
    Man::new(found.clone()).title(format!("imagestore-agent-{name}")).render(&mut page)?;
    Ok(page)
}

#[cfg(test)]
mod tests {
    use super::*;

    fn page(command: Option<&str>) -> String {
        String::from_utf8(manual_page(command).unwrap()).unwrap()
    }

    #[test]
    fn every_command_has_a_page_with_its_options() {
        for command in Args::command().get_subcommands() {
            let name = command.get_name();
            let text = page(Some(name));
            assert!(text.contains(&format!(".TH imagestore-agent-{name} 1")), "{text}");
            for option in command.get_arguments().filter_map(clap::Arg::get_long) {
                let option = option.replace('-', "\\-");
                assert!(text.contains(&option), "{name} --{option}: {text}");
            }
        }
        assert!(page(None).contains("accept\\-host\\-key"), "{}", page(None));
        assert!(manual_page(Some("nothing")).is_err());
    }

    #[test]
    fn completions_know_every_command() {
        for shell in [Shell::Bash, Shell::Zsh, Shell::Fish] {
            let text = String::from_utf8(shell_completions(shell)).unwrap();
            for command in Args::command().get_subcommands() {
                assert!(text.contains(command.get_name()), "{shell}: {}", command.get_name());
            }
        }
    }
}
