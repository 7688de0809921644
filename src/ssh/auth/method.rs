//! Selection of the next authentication method, and the fault when no method is left. Pure
//! functions. A method is never sent twice, and a rejected password is not sent again by another
//! method.

use russh::{MethodKind, MethodSet};

use crate::common::string_enum;
use crate::model::Reason;

string_enum! {
    /// An authentication method that this daemon supports (RFC 4252, RFC 4256), in the order in
    /// which the methods are tried. The text is the name in the protocol.
    pub AuthMethod {
        /// A private key.
        PublicKey = "publickey",
        /// A password.
        Password = "password",
        /// Prompts of the server, answered with the password.
        KeyboardInteractive = "keyboard-interactive",
    }
}

impl AuthMethod {
    const fn method_kind(self) -> MethodKind {
        match self {
            Self::PublicKey => MethodKind::PublicKey,
            Self::Password => MethodKind::Password,
            Self::KeyboardInteractive => MethodKind::KeyboardInteractive,
        }
    }
}

/// Progress of one login.
///
/// The first method is sent without a query for the methods that the server offers. That query is
/// the method `none`. It costs a round trip on every login and returns nothing that a rejection
/// does not return.
#[derive(Debug)]
pub(super) struct AuthProgress {
    has_key: bool,
    has_password: bool,
    /// The methods that the server accepts next, or `None` before its first answer.
    offered: Option<MethodSet>,
    /// Methods that were sent, or that cannot be sent to this server.
    tried: Vec<AuthMethod>,
    accepted: Vec<AuthMethod>,
    /// Methods that were rejected although the server offers them.
    rejected: Vec<AuthMethod>,
}

impl AuthProgress {
    pub(super) fn new(has_key: bool, has_password: bool) -> Self {
        Self {
            has_key,
            has_password,
            offered: None,
            tried: Vec::new(),
            accepted: Vec::new(),
            rejected: Vec::new(),
        }
    }

    /// Returns the method to send next, or `None` if no method is left.
    pub(super) fn next_method(&self) -> Option<AuthMethod> {
        AuthMethod::ALL.iter().copied().find(|&method| self.is_worth_trying(method))
    }

    fn is_worth_trying(&self, method: AuthMethod) -> bool {
        let offered = match &self.offered {
            Some(offered) => offered.contains(&method.method_kind()),
            // The offer is not known yet. Keyboard-interactive is not guessed, so that the password
            // method is used wherever the server offers it.
            None => method != AuthMethod::KeyboardInteractive,
        };
        let has_secret = match method {
            AuthMethod::PublicKey => self.has_key,
            AuthMethod::Password => self.has_password,
            // The same secret would reach the same PAM stack. A second rejection costs another fail
            // delay and counts towards a lock-out.
            AuthMethod::KeyboardInteractive => {
                self.has_password && !self.rejected.contains(&AuthMethod::Password)
            }
        };
        offered && has_secret && !self.tried.contains(&method)
    }

    /// Records that the server rejected the method and accepts one of `offered` next.
    pub(super) fn record_rejection(&mut self, method: AuthMethod, offered: MethodSet) {
        self.tried.push(method);
        // An empty offer does not show that the method is disabled.
        if offered.contains(&method.method_kind()) || offered.is_empty() {
            self.rejected.push(method);
        }
        self.offered = Some(offered);
    }

    /// Records that the method cannot be sent to this server.
    pub(super) fn record_skipped(&mut self, method: AuthMethod) {
        self.tried.push(method);
    }

    /// Records that the server accepted the method and also requires one of `offered`.
    pub(super) fn record_partial_success(&mut self, method: AuthMethod, offered: MethodSet) {
        self.tried.push(method);
        self.accepted.push(method);
        self.offered = Some(offered);
    }

    /// Records that the method completed the login. Returns all accepted methods, in order.
    pub(super) fn into_accepted(mut self, method: AuthMethod) -> Vec<AuthMethod> {
        self.accepted.push(method);
        self.accepted
    }

    /// Returns the reason of a failed login after the last method.
    pub(super) fn failure_reason(&self) -> Reason {
        if !self.rejected.is_empty() {
            Reason::CredentialsRefused
        } else if !self.accepted.is_empty() {
            Reason::SecondFactorMissing
        } else {
            Reason::MethodNotOffered
        }
    }

    /// Returns the names of the methods that the server accepts next.
    pub(crate) fn offered_methods(&self) -> Vec<String> {
        self.offered.iter().flat_map(|offered| offered.iter()).map(String::from).collect()
    }

    /// Returns the names of the methods that were tried.
    pub(super) fn tried_methods(&self) -> Vec<String> {
        self.tried.iter().map(|method| method.as_str().to_owned()).collect()
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    use AuthMethod::{KeyboardInteractive, Password, PublicKey};

    /// A server's answer to a method: true for a partial success, and the methods that it offers
    /// next.
    type Answer = (bool, &'static [AuthMethod]);

    /// Returns the methods that are sent, and the reason when no method is left.
    fn play(key: bool, password: bool, answers: &[Answer]) -> (Vec<AuthMethod>, Reason) {
        let mut progress = AuthProgress::new(key, password);
        let mut sent = Vec::new();
        for (partial_success, offered) in answers {
            let Some(method) = progress.next_method() else { break };
            sent.push(method);
            let kinds: Vec<MethodKind> =
                offered.iter().map(|method| method.method_kind()).collect();
            let offered = MethodSet::from(&kinds[..]);
            match partial_success {
                true => progress.record_partial_success(method, offered),
                false => progress.record_rejection(method, offered),
            }
        }
        assert_eq!(progress.next_method(), None, "the script ended before the login did");
        (sent, progress.failure_reason())
    }

    #[test]
    fn the_methods_follow_what_the_server_offers() {
        let (rejected, not_offered, second) =
            (Reason::CredentialsRefused, Reason::MethodNotOffered, Reason::SecondFactorMissing);
        type Case<'a> = (bool, bool, &'a [Answer], &'a [AuthMethod], Reason);
        let cases: [Case<'_>; 12] = [
            // One secret, refused.
            (false, true, &[(false, &[PublicKey, Password])], &[Password], rejected),
            (true, false, &[(false, &[PublicKey, Password])], &[PublicKey], rejected),
            // The key is refused, the password too.
            (
                true,
                true,
                &[(false, &[PublicKey, Password][..]); 2],
                &[PublicKey, Password],
                rejected,
            ),
            // A refused password is not said again in a conversation.
            (false, true, &[(false, &[Password, KeyboardInteractive])], &[Password], rejected),
            // The password method is off, the conversation is on.
            (
                false,
                true,
                &[(false, &[PublicKey, KeyboardInteractive][..]); 2],
                &[Password, KeyboardInteractive],
                rejected,
            ),
            // The server offers no method that the store has a secret for.
            (false, true, &[(false, &[PublicKey])], &[Password], not_offered),
            (true, false, &[(false, &[Password])], &[PublicKey], not_offered),
            (false, false, &[], &[], not_offered),
            // Two factors: one missing, one wrong.
            (true, false, &[(true, &[Password])], &[PublicKey], second),
            (
                true,
                true,
                &[(true, &[Password]), (false, &[Password])],
                &[PublicKey, Password],
                rejected,
            ),
            (
                true,
                true,
                &[(true, &[KeyboardInteractive]), (true, &[Password]), (true, &[PublicKey])],
                &[PublicKey, KeyboardInteractive, Password],
                second,
            ),
            // A server that has nothing more to offer.
            (false, true, &[(false, &[])], &[Password], rejected),
        ];
        for (key, password, answers, sent, reason) in cases {
            let outcome = play(key, password, answers);
            assert_eq!(outcome, (sent.to_vec(), reason), "{key} {password} {answers:?}");
        }
    }

    #[test]
    fn accepted_methods_keep_their_order_and_skipped_methods_are_not_sent() {
        let mut progress = AuthProgress::new(true, true);
        progress.record_skipped(PublicKey);
        assert_eq!(progress.next_method(), Some(Password));
        let mut progress = AuthProgress::new(true, true);
        progress.record_partial_success(PublicKey, MethodSet::from(&[MethodKind::Password][..]));
        assert_eq!(progress.next_method(), Some(Password));
        assert_eq!(progress.into_accepted(Password), [PublicKey, Password]);
    }
}
