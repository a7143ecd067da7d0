//! The data folder: made, held, and refused in words that say what to do.

use std::{fs, os::unix::fs::PermissionsExt, path::Path};

use sebastian_testkit::Child;

use crate::{
    cli::COMPLETE,
    processes::{Folder, SOON, address},
};

/// No servers; nobody answers where the platform should be.
const ALONE: &str = "\
listen:
  host: 127.0.0.1
  port: 0
qiscus:
  base_url: http://127.0.0.1:9
  app_id: desk-1
  secret_key: CANARY-key
";

async fn ended(child: &Child) -> (Option<i32>, String) {
    (child.wait(SOON).await.code(), child.output())
}

fn mode(path: &Path) -> u32 {
    fs::metadata(path).unwrap().permissions().mode() & 0o777
}

#[tokio::test]
async fn the_first_start_makes_the_folder_for_its_owner_alone_and_a_second_process_is_refused() {
    let folder = Folder::with(ALONE);
    let first = folder.start(&["-e", "all", "--data", "deep/er"]);
    address(&first).await;
    let made = folder.path().join("deep/er");
    assert_eq!(mode(&made), 0o700);
    for file in ["ledger.db", "lock"] {
        assert_eq!(mode(&made.join(file)), 0o600, "{file}");
    }

    let (code, told) = ended(&folder.start(&["-e", "all", "--data", "deep/er"])).await;
    let why =
        format!("the data folder {} is in use by process {}: stop that first", made.display(), first.pid());
    assert!(code == Some(1) && told.contains(&why), "{code:?} {told}");

    // Another folder is another desk, and a folder whose process was killed is free.
    let other = folder.start(&["-e", "all"]);
    address(&other).await;
    first.kill9();
    first.wait(SOON).await;
    address(&folder.start(&["-e", "all", "--data", "deep/er"])).await;
}

#[tokio::test]
async fn servers_are_needed_by_processes_that_share_and_half_of_them_by_nobody() {
    let alone = Folder::with(ALONE);
    for process in ["webhook", "worker"] {
        for words in [&["-e", process][..], &["-e", process, "check-config"]] {
            let (code, told) = ended(&alone.start(words)).await;
            let why = format!(
                "sebastian: `-e {process}` shares PostgreSQL and Redis with other processes, and neither is set: set \
                 `db.connection_string` (SEBASTIAN__DB__CONNECTION_STRING) and `redis.url` (SEBASTIAN__REDIS__URL), or run \
                 `sebastian -e all`, which needs no servers\n"
            );
            assert!(code == Some(2) && told.ends_with(&why), "{code:?} {told}");
        }
    }
    let (db, redis) =
        ("db:\n  connection_string: postgres://a@127.0.0.1:9/b\n", "redis:\n  url: 127.0.0.1:9\n");
    for (half, missing, set) in
        [(db, "redis.url", "db.connection_string"), (redis, "db.connection_string", "redis.url")]
    {
        let folder = Folder::with(&format!("{ALONE}{half}"));
        for words in [&["-e", "all"][..], &["-e", "worker"], &["queue"], &["check-config"]] {
            let (code, told) = ended(&folder.start(words)).await;
            let why = format!("`{missing}` is not set, and `{set}` is: ");
            assert!(code == Some(2) && told.contains(&why), "{words:?}: {code:?} {told}");
        }
    }
    let servers = Folder::with(COMPLETE);
    let (code, told) = ended(&servers.start(&["-e", "all", "--data", "data"])).await;
    assert!(code == Some(2) && told.contains("`--data` names the folder of an embedded ledger"), "{told}");
    let (code, told) = ended(&servers.start(&["check-config"])).await;
    assert!(code == Some(0) && !told.contains("embedded"), "SEBASTIAN_DATA changes nothing there: {told}");
}

#[tokio::test]
async fn a_folder_that_cannot_be_is_refused_in_a_sentence() {
    let folder = Folder::with(ALONE);
    fs::write(folder.path().join("file"), "").unwrap();
    for (data, why) in [
        ("file", "/file is not a folder: name another with --data"),
        ("file/below", "nothing can be written in the data folder "),
        (
            "/proc/sebastian",
            "nothing can be written in the data folder /proc/sebastian: mend that, or name another",
        ),
    ] {
        let (code, told) = ended(&folder.start(&["-e", "all", "--data", data])).await;
        assert!(code == Some(2) && told.contains(why), "{data}: {code:?} {told}");
    }
    let (code, told) = ended(&folder.start(&["queue", "--data", "nowhere"])).await;
    let why = "/nowhere: `sebastian -e all` makes one; --data names another folder\n";
    assert!(code == Some(2) && told.ends_with(why), "{code:?} {told}");
    assert!(!folder.path().join("nowhere").exists(), "looking makes nothing");

    fs::create_dir(folder.path().join("spoilt")).unwrap();
    fs::write(
        folder.path().join("spoilt/ledger.db"),
        "no ledger, and long enough to be read as one\n".repeat(100),
    )
    .unwrap();
    let (code, told) = ended(&folder.start(&["-e", "all", "--data", "spoilt"])).await;
    assert!(
        code == Some(1) && told.contains("the file of the ledger is damaged: restore a backup"),
        "{code:?} {told}"
    );
}

#[tokio::test]
async fn the_usual_place_is_the_platforms_folder_for_data() {
    let folder = Folder::with(ALONE);
    // An empty value counts as not given.
    let environment = [("SEBASTIAN_DATA", ""), ("XDG_DATA_HOME", folder.path().to_str().unwrap())];
    let usual = folder.path().join("sebastian");
    let (code, told) = ended(&folder.start_with(&["check-config"], &environment)).await;
    let shown = format!("the ledger is embedded, in {}\n", usual.display());
    assert!(code == Some(0) && told.ends_with(&shown), "{told}");
    assert!(!usual.exists(), "it connects to nothing and makes nothing");

    for applies in [true, false] {
        let (code, told) = ended(&folder.start_with(&["migrate"], &environment)).await;
        assert_eq!((code, told.contains("applied")), (Some(0), applies), "{told}");
    }
    assert!(usual.join("ledger.db").is_file());
}
