//! Secrets: taken as they are, from wherever they stand, and never shown.

use std::{fs, path::Path};

use secrecy::ExposeSecret;

use crate::config::{load, problems};

/// Every key that is secret or personal, with a value its checks let pass.
const HIDDEN: [(&str, &str, &str); 7] = [
    ("webhook", "secret", "CANARY-webhook-secret"),
    ("db", "connection_string", "postgres://CANARY-user:CANARY-db@localhost/db"),
    ("redis", "url", "redis://:CANARY-redis@localhost:6379"),
    ("qiscus", "secret_key", "CANARY-secret-key"),
    ("qiscus", "email", "CANARY@mail.example"),
    ("qiscus", "password", "CANARY-password"),
    ("admin", "token", "CANARY-admin-token"),
];

fn hidden_in_file() -> String {
    let mut text = String::new();
    let mut section = "";
    for (its_section, key, value) in HIDDEN {
        if its_section != section {
            section = its_section;
            text += &format!("{section}:\n");
        }
        text += &format!("  {key}: {value}\n");
    }
    text
}

#[test]
fn nothing_that_can_be_printed_shows_a_secret() {
    let loaded = load(&hidden_in_file(), &[]).unwrap();
    let shown = loaded.shown.iter().filter(|shown| shown.value == "[hidden]").count();
    assert_eq!(shown, HIDDEN.len());
    assert!(!format!("{loaded:?} {loaded:#?}").contains("CANARY"));
}

#[test]
fn no_problem_quotes_a_secret() {
    let text =
        hidden_in_file().replace("CANARY-webhook-secret", "CANARY").replace("CANARY-admin-token", "CANARY/");
    assert!(!problems(&text).contains("CANARY"), "{}", problems(&text));
    for (section, key, _) in HIDDEN {
        let listed = problems(&format!("{section}:\n  {key}: [CANARY]"));
        assert!(!listed.contains("CANARY"), "{listed}");
    }
    // One that slipped a line.
    for text in [
        "listen:\n  port: CANARY",
        "log:\n  format: CANARY",
        "policy:\n  roles: CANARY",
        "qiscus:\n  base_url: http://u:CANARY@h",
        "CANARY",
    ] {
        assert!(!problems(text).contains("CANARY"), "{text}");
    }
}

#[test]
fn text_is_taken_as_it_is_written() {
    for password in ["0123", "1e5", "true", "1_000", "'null'", "\"with spaces \"", "0x1F", "12:30:45", "=a&b"]
    {
        let config =
            load(&format!("qiscus:\n  email: a@b.example\n  password: {password}"), &[]).unwrap().config;
        let taken = config.qiscus.password.unwrap();
        assert_eq!(taken.expose_secret(), password.trim_matches(['\'', '"']));
    }
}

#[test]
fn a_secret_may_stand_in_a_file_of_its_own() {
    let folder = tempfile::tempdir().unwrap();
    let path = folder.path().join("secret");
    for (written, taken) in [
        ("hunter2\n", "hunter2"),
        ("hunter2\r\n", "hunter2"),
        ("hunter2", "hunter2"),
        (" a b \n\n", " a b \n"),
    ] {
        fs::write(&path, written).unwrap();
        let loaded = load(&format!("qiscus:\n  secret_key_file: {}", path.display()), &[]).unwrap();
        assert_eq!(loaded.config.qiscus.secret_key.as_ref().unwrap().expose_secret(), taken);
        let shown = loaded.shown.iter().find(|shown| shown.key == "qiscus.secret_key_file").unwrap();
        assert_eq!(shown.value, path.display().to_string());
    }
}

#[test]
fn each_secret_has_its_file_key() {
    let folder = tempfile::tempdir().unwrap();
    for (section, key, value) in HIDDEN {
        if key == "email" {
            continue;
        }
        let path = folder.path().join(key);
        fs::write(&path, value).unwrap();
        let variable = format!("SEBASTIAN__{}__{}_FILE", section.to_uppercase(), key.to_uppercase());
        let environment =
            [(variable.as_str(), path.to_str().unwrap()), ("SEBASTIAN__QISCUS__EMAIL", "a@b.example")];
        let environment = if key == "password" { &environment[..] } else { &environment[..1] };
        let loaded = load("", environment).unwrap();
        assert!(loaded.shown.iter().any(|shown| shown.key == format!("{section}.{key}_file")), "{variable}");
    }
}

#[test]
fn a_secret_file_that_gives_no_secret_is_refused() {
    let folder = tempfile::tempdir().unwrap();
    let write = |name: &str, bytes: &[u8]| {
        let path = folder.path().join(name);
        fs::write(&path, bytes).unwrap();
        path
    };
    let refused = |path: &Path| problems(&format!("qiscus:\n  secret_key_file: {}", path.display()));

    let absent = folder.path().join("absent");
    assert!(
        refused(&absent).starts_with(&format!(
            "desk.yml:2: `qiscus.secret_key_file`: {} cannot be read",
            absent.display()
        ))
    );
    assert!(refused(folder.path()).contains("cannot be read"));
    assert!(refused(&write("empty", b"\n")).ends_with("is empty"));
    assert!(refused(&write("binary", b"\xff\xfe")).contains("cannot be read"));
    assert!(refused(&write("log", &vec![b'a'; 100_000])).contains("larger than 65536 bytes"));
    assert!(refused(Path::new("/dev/zero")).contains("larger than 65536 bytes"));
}

#[test]
fn a_secret_given_twice_is_refused() {
    let folder = tempfile::tempdir().unwrap();
    let path = folder.path().join("secret");
    fs::write(&path, "hunter2").unwrap();
    let variable = [("SEBASTIAN__QISCUS__SECRET_KEY_FILE", path.to_str().unwrap())];
    let refused = load("qiscus:\n  secret_key: hunter2", &variable).unwrap_err().to_string();
    assert_eq!(refused, "`qiscus.secret_key` and `qiscus.secret_key_file` are both set: keep one of them");
}
