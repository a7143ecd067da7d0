//! A platform's error, in the words of whoever has to mend it.

use sebastian_platform::{PlatformError, Refusal, UnknownOutcome};

/// What was found, and what to do about it. Holds no secret.
#[derive(Debug, Clone, PartialEq, Eq)]
pub(crate) struct Trouble {
    /// What the platform did.
    pub found: String,
    /// What an operator can do.
    pub mend: String,
}

const OTHER_BASE_URL: &str =
    "look at `qiscus.base_url`: some accounts are on https://multichannel.qiscus.com, not omnichannel";

/// Why a call by app id and secret key gave nothing.
pub(crate) fn of_keys(error: &PlatformError, base_url: &str) -> Trouble {
    match error {
        PlatformError::Denied { status: status @ (401 | 403) } => Trouble {
            found: format!("Qiscus does not accept the app id and the secret key (status {status})"),
            mend: "copy both again from Settings > App Information of the Qiscus dashboard".to_owned(),
        },
        error => of_call(error, base_url),
    }
}

/// Why an admin's login gave nothing.
pub(crate) fn of_login(error: &PlatformError, base_url: &str) -> Trouble {
    match error {
        PlatformError::Denied { status } => Trouble {
            found: format!("Qiscus does not accept the admin's e-mail and password (status {status})"),
            mend:
                "use the login of an admin without a second factor, in `qiscus.email` and `qiscus.password`"
                    .to_owned(),
        },
        error => of_call(error, base_url),
    }
}

fn of_call(error: &PlatformError, base_url: &str) -> Trouble {
    let (found, mend) = match error {
        PlatformError::Denied { status } => (
            format!(
                "Qiscus answers with status {status}: the account's plan has ended, or does not include this"
            ),
            "look at the plan in the Qiscus dashboard",
        ),
        PlatformError::Busy { .. } => ("Qiscus is busy and asks to wait".to_owned(), "try again in a minute"),
        PlatformError::Rejected(Refusal::Other(status)) => {
            (format!("{base_url} refuses with status {status}"), OTHER_BASE_URL)
        }
        PlatformError::Rejected(refusal) => (format!("Qiscus refuses: {refusal}"), OTHER_BASE_URL),
        PlatformError::Unknown(outcome) => of_no_answer(outcome, base_url),
        PlatformError::Unsupported(reason) => ((*reason).to_owned(), "see README, Going live on Qiscus"),
    };
    Trouble { found, mend: mend.to_owned() }
}

fn of_no_answer(outcome: &UnknownOutcome, base_url: &str) -> (String, &'static str) {
    match outcome {
        UnknownOutcome::Timeout | UnknownOutcome::Connection => (
            format!("{base_url} cannot be reached: {outcome}"),
            "see whether this machine may reach it, by name and through the firewall, and whether `qiscus.base_url` is right",
        ),
        UnknownOutcome::Status(status) => (
            format!("{base_url} fails with status {status}"),
            "try again in a minute; then as for the platform's own outage",
        ),
        UnknownOutcome::Body | UnknownOutcome::TooLarge(_) => {
            (format!("{base_url} answers, and not as Qiscus does"), OTHER_BASE_URL)
        }
    }
}
