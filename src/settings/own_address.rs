//! Finds a URL of the management node that leads to the daemon itself. The check compares texts and
//! resolves no name: a name that only the name service knows is found at the first question.

use std::net::{IpAddr, SocketAddr};

use hyper::Uri;

use crate::common::UrlPort;

use super::reader::SettingsReader;
use super::rules::text::SESSION_PLACEHOLDER;
use super::sections::Settings;

const URL_KEY: &str = "auth.session_check_url";

/// Reports `auth.session_check_url` if it leads to one of the listeners.
pub(super) fn report_own_address(reader: &mut SettingsReader<'_>, settings: &Settings) {
    let Some(url) = &settings.auth.session_check_url else { return };
    let Some((host, port)) = host_and_port(url) else { return };
    let server = &settings.server;
    let own = server.listen.iter().find(|listen| leads_to(&host, port, listen, &server.host_names));
    if let Some(own) = own {
        let problem = format!("leads to {own}, where this daemon listens");
        let allowed = "the URL of the management node";
        reader.report_conflict(&[URL_KEY, "server.listen"], &problem, Some(allowed));
    }
}

/// Returns the host in lower case without brackets and final dot, and the port of a URL.
pub(super) fn host_and_port(url: &str) -> Option<(String, u16)> {
    let uri: Uri = url.replace(SESSION_PLACEHOLDER, "0").parse().ok()?;
    let host = uri.host()?.trim_start_matches('[').trim_end_matches(']');
    let host = host.strip_suffix('.').unwrap_or(host).to_ascii_lowercase();
    let default = if uri.scheme_str() == Some("https") { 443 } else { 80 };
    Some((host, UrlPort::of(uri.authority()?).number_or(default)?))
}

/// Returns true if the host is known to be this machine without its network.
pub(super) fn is_loopback(host: &str) -> bool {
    match host.parse::<IpAddr>() {
        Ok(ip) => is_local_ip(ip.to_canonical()),
        Err(_) => is_localhost(host),
    }
}

/// Returns true for an address of loopback. A connection to the unspecified address goes there too.
fn is_local_ip(ip: IpAddr) -> bool {
    ip.is_loopback() || ip.is_unspecified()
}

/// RFC 6761 section 6.3: the name and those below it are addresses of loopback.
fn is_localhost(host: &str) -> bool {
    host == "localhost" || host.ends_with(".localhost")
}

/// Returns true if a connection to the host and port reaches the listener.
fn leads_to(host: &str, port: u16, listen: &SocketAddr, host_names: &[String]) -> bool {
    if listen.port() != port {
        return false;
    }
    let own = listen.ip();
    match host.parse::<IpAddr>().map(|ip| ip.to_canonical()) {
        Ok(ip) if ip.is_ipv4() != own.is_ipv4() => false,
        Ok(ip) if ip == own => true,
        // The wildcard listens on loopback, and the unspecified address is a loopback one.
        Ok(ip) if own.is_unspecified() => is_local_ip(ip),
        Ok(ip) => ip.is_unspecified() && own.is_loopback(),
        Err(_) if is_localhost(host) => is_local_ip(own),
        // The operator says that clients reach the daemon by these names.
        Err(_) => host_names.iter().any(|name| name.strip_suffix('.').unwrap_or(name) == host),
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn a_url_leads_to_a_listener_by_its_address_or_a_known_name() {
        for (url, listen, expected) in [
            ("http://127.0.0.1:7811/{uuid}", "127.0.0.1:7811", true),
            ("https://127.0.0.1:7811/{uuid}", "127.0.0.1:7811", true),
            ("http://[::ffff:127.0.0.1]:7811/{uuid}", "127.0.0.1:7811", true),
            ("http://localhost:7811/{uuid}", "127.0.0.1:7811", true),
            ("http://LOCALHOST.:7811/{uuid}", "[::1]:7811", true),
            ("http://x.localhost:7811/{uuid}", "0.0.0.0:7811", true),
            ("http://0.0.0.0:7811/{uuid}", "127.0.0.1:7811", true),
            ("http://[::]:7811/{uuid}", "[::1]:7811", true),
            ("http://127.0.0.9:7811/{uuid}", "0.0.0.0:7811", true),
            ("http://[::1]:7811/{uuid}", "[::]:7811", true),
            ("http://10.0.0.7/{uuid}", "10.0.0.7:80", true),
            ("https://10.0.0.7/{uuid}", "10.0.0.7:443", true),
            ("http://node-1.example:7811/{uuid}", "10.0.0.7:7811", true),
            ("http://Node-1.Example.:7811/{uuid}", "10.0.0.7:7811", true),
            ("http://127.0.0.1:8080/{uuid}", "127.0.0.1:7811", false),
            ("http://127.0.0.2:7811/{uuid}", "127.0.0.1:7811", false),
            ("http://[::1]:7811/{uuid}", "0.0.0.0:7811", false),
            ("http://localhost:7811/{uuid}", "10.0.0.7:7811", false),
            ("http://10.0.0.8:7811/{uuid}", "0.0.0.0:7811", false),
            ("http://mn.example:7811/{uuid}", "0.0.0.0:7811", false),
            ("http://10.0.0.7/{uuid}", "10.0.0.7:443", false),
        ] {
            let (host, port) = host_and_port(url).unwrap();
            let names = ["node-1.example".to_owned()];
            let leads = leads_to(&host, port, &listen.parse().unwrap(), &names);
            assert_eq!(leads, expected, "{url} {listen}");
        }
    }
}
