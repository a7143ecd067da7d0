//! What an operator does by hand, on real servers and on a data folder, with a test in the worker's place.

use sebastian_core::{
    EventKind, NewEvent, Priority, RoomId, Source, Status, Update, conversation::REFUSALS_MAX,
};
use serde_json::{Value, json};

use crate::explain::{Desk, on_servers_and_in_a_folder};

on_servers_and_in_a_folder! {
    a_policy_is_made_linked_changed_and_unlinked,
    what_cannot_be_is_refused_and_changes_nothing,
    an_agent_an_inbox_and_the_account_are_paused_and_resumed,
    agents_are_shown_with_what_they_hold_and_what_is_said_of_them,
    without_a_roster_agents_says_so,
    the_queue_is_shown_in_order_with_the_reason_at_its_head,
    what_is_put_off_until_its_customer_writes_shows_no_date,
    positions_follow_the_order_of_the_policy,
    what_sits_out_is_listed_with_its_reason_and_tried_again_at_a_word,
}

async fn a_policy_is_made_linked_changed_and_unlinked(desk: Desk) {
    desk.show_roster().await;
    let (code, none) = desk.tell(&["policies", "list"]).await;
    assert!(code == Some(0) && none.starts_with("there is no policy: "), "{none}");

    let made = desk
        .run(&["policies", "set", "name=Night", "assignment_order=round_robin", "enabled=false", "--json"])
        .await;
    assert_eq!((&made["changed"], &made["version"]), (&true.into(), &1.into()), "{made}");
    assert_eq!(made["shown"]["assignment_order"], "round_robin");
    let id = made["shown"]["id"].to_string();

    let (code, linked) = desk.tell(&["policies", "link", "88121", &id]).await;
    let told = format!("inbox 88121 is dealt by policy {id} Night\n{}", desk.in_force(2));
    assert_eq!((code, linked), (Some(0), told));

    desk.accept(&["101"]).await;
    assert_eq!(desk.work().await, [] as [String; 0]);
    let (_, held) = desk.tell(&["explain", "101"]).await;
    assert!(held.contains("; assignment policy Night of inbox 88121 is disabled\n"), "{held}");

    let (code, changed) = desk.tell(&["policies", "set", &id, "enabled=true", "capacity=2"]).await;
    assert!(code == Some(0) && changed.contains("round_robin, earliest_created, capacity 2\n"), "{changed}");
    assert_eq!(desk.work().await, ["101"], "the very next decision goes by it");
    let (_, same) = desk.tell(&["policies", "set", &id, "capacity=2"]).await;
    assert!(same.ends_with("nothing changed; version 3 of the rules holds\n"), "{same}");

    let shown = desk.run(&["policies", "show", &id, "--json"]).await;
    assert_eq!((&shown["capacity"], &shown["inboxes"][0]["id"]), (&2.into(), &88_121.into()), "{shown}");
    let (_, shown) = desk.tell(&["policies", "show", &id]).await;
    assert!(shown.contains("\ninboxes                   88121\n"), "{shown}");
    let (_, listed) = desk.tell(&["policies", "list"]).await;
    assert_eq!(listed.lines().count(), 2, "{listed}");

    let unlinked = desk.run(&["policies", "unlink", "88121", "--json"]).await;
    assert_eq!(unlinked["version"], 4);

    let audit = desk.store.audit(desk.account, None, 10).await.unwrap();
    assert!(audit.iter().all(|entry| entry.who == "cli:citra"), "{audit:?}");
    let deeds: Vec<&str> = audit.iter().rev().map(|entry| entry.action.as_str()).collect();
    assert_eq!(deeds, ["create", "link", "update", "unlink"]);
}

async fn what_cannot_be_is_refused_and_changes_nothing(desk: Desk) {
    desk.show_roster().await;
    for (words, told) in [
        (&["policies", "set", "name="][..], "sebastian: Name can't be blank\n"),
        (&["policies", "set", "name=x", "assignment_order=fastest"], "Assignment order "),
        (
            &["policies", "show", "9"],
            "sebastian: there is no assignment policy 9; `sebastian policies list` shows which there are\n",
        ),
        (&["policies", "link", "88121", "9"], "sebastian: there is no assignment policy 9; "),
        (&["policies", "link", "99", "9"], "sebastian: there is no inbox 99\n"),
        (&["policies", "unlink", "88121"], "sebastian: this inbox is linked to no policy\n"),
        (
            &["pause", "--agent", "99"],
            "sebastian: there is no agent 99; `sebastian agents` shows which there are\n",
        ),
        (&["pause", "--until", "noon"], "Until must be "),
        (&["pause", "--until", "2020-01-01T00:00:00Z"], "Until must lie ahead"),
    ] {
        let (code, said) = desk.tell(words).await;
        assert!(code == Some(1) && said.contains(told), "{words:?}: {code:?} {said}");
    }
    assert_eq!(desk.store.rulebook(desk.account).await.unwrap().version, 0);
}

async fn an_agent_an_inbox_and_the_account_are_paused_and_resumed(desk: Desk) {
    desk.show_roster().await;
    desk.accept(&["101"]).await;
    let resumed = |told: &str| told.contains(" is not paused\nversion ");
    for (what, paused, why) in [
        (&["--agent", "7"][..], "agent 7 is paused until 20", "; nobody"),
        (&["--inbox", "88121"], "inbox 88121 is paused until 20", "; inbox 88121 is paused until 20"),
        (&[], "the account is paused until 20", "; the account is paused until 20"),
    ] {
        let (code, told) =
            desk.tell(&[&["pause"], what, &["--for", "2h", "--reason", "fire drill"]].concat()).await;
        assert!(code == Some(0) && told.starts_with(paused), "{told}");
        assert_eq!(desk.work().await, [] as [String; 0], "{what:?}");
        let (_, told) = desk.tell(&["explain", "101"]).await;
        assert!(told.contains(": fire drill") && (what.contains(&"--agent") || told.contains(why)), "{told}");
        let (code, told) = desk.tell(&[&["resume"], what].concat()).await;
        assert!(code == Some(0) && resumed(&told), "{told}");
    }
    assert_eq!(desk.work().await, ["101"]);
    let (_, told) = desk.tell(&["resume"]).await;
    assert!(told.contains("nothing changed; "), "{told}");
}

async fn agents_are_shown_with_what_they_hold_and_what_is_said_of_them(desk: Desk) {
    desk.show_roster().await;
    desk.accept(&["101"]).await;
    assert_eq!(desk.work().await, ["101"]);
    desk.tell(&["pause", "--agent", "210432", "--reason", "training"]).await;

    let (code, told) = desk.tell(&["agents"]).await;
    let table = "agent   name  presence  load  state             capacity policy  teams\n\
                 7       Ayu   online    1/1   full              -                -\n\
                 210432  Bima  offline   0/1   paused: training  -                -\n";
    assert_eq!((code, told.as_str()), (Some(0), table));

    let shown = desk.run(&["agents", "--json"]).await;
    assert_eq!(shown["roster"]["version"], 1);
    let bima = &shown["agents"][1];
    assert_eq!(
        (&bima["load"], &bima["capacity"], &bima["presence"]),
        (&0.into(), &1.into(), &"offline".into())
    );
    assert_eq!(bima["paused"], json!({ "until": null, "reason": "training" }));
}

async fn without_a_roster_agents_says_so(desk: Desk) {
    let (code, told) = desk.tell(&["agents"]).await;
    let missing = "sebastian: there is no roster: a worker has to poll the platform first\n";
    assert_eq!((code, told.as_str()), (Some(1), missing));
}

async fn the_queue_is_shown_in_order_with_the_reason_at_its_head(desk: Desk) {
    desk.show_roster().await;
    let (code, empty) = desk.tell(&["queue"]).await;
    assert_eq!((code, empty.as_str()), (Some(0), "0 waiting, 0 parked\n"));
    desk.accept(&["101", "102", "103"]).await;
    let (_, unfolded) = desk.tell(&["queue"]).await;
    assert!(unfolded.starts_with("0 waiting, 0 parked, 3 accepted and yet to be taken in"), "{unfolded}");
    assert_eq!(desk.work().await, ["101"]);

    let (code, told) = desk.tell(&["queue"]).await;
    assert_eq!(code, Some(0), "{told}");
    let lines: Vec<&str> = told.lines().collect();
    assert_eq!(lines[0], "2 waiting, 0 parked");
    assert!(lines[2].starts_with("inbox 88121: 2 waiting, oldest "), "{told}");
    assert_eq!(lines[3], "  dealt by the account's own policy: balanced, earliest first");
    assert!(lines[4].ends_with(" s, position 1; Ayu is full (1/1), Bima is offline"), "{told}");
    assert!(
        lines[6].starts_with("  1         102   ") && lines[7].starts_with("  2         103   "),
        "{told}"
    );

    let shown = desk.run(&["queue", "--first", "1", "--json"]).await;
    let queue = &shown["queues"][0];
    assert_eq!(
        (&queue["waiting"], &queue["inbox"], &queue["hold"]),
        (&2.into(), &88_121.into(), &Value::Null)
    );
    assert_eq!(queue["conversations"].as_array().unwrap().len(), 1);
    assert_eq!(queue["conversations"][0]["position"], 1);
}

async fn what_is_put_off_until_its_customer_writes_shows_no_date(desk: Desk) {
    desk.show_roster().await;
    desk.accept(&["101"]).await;
    let snoozed = Update { status: Some(Status::Snoozed), ..Update::default() };
    let room = RoomId::parse("101").unwrap();
    let event = NewEvent { room, kind: EventKind::Update(snoozed), source: Source::Operator };
    desk.store.accept(desk.account, &[event]).await.unwrap();
    assert_eq!(desk.work().await, [] as [String; 0]);

    let (_, told) = desk.tell(&["queue"]).await;
    assert!(told.trim_end().ends_with("  -         snoozed"), "{told}");
    let parked = &desk.run(&["queue", "--json"]).await["queues"][0]["conversations"][0];
    assert_eq!((&parked["park_reason"], &parked["parked_until"]), (&"snoozed".into(), &Value::Null));
}

async fn positions_follow_the_order_of_the_policy(desk: Desk) {
    desk.show_roster().await;
    let words = ["policies", "set", "name=Urgent first", "conversation_priority=priority", "--json"];
    let id = desk.run(&words).await["shown"]["id"].to_string();
    desk.tell(&["policies", "link", "88121", &id]).await;
    desk.tell(&["pause"]).await;
    desk.accept(&["101", "102", "103"]).await;
    let urgent = Update { priority: Some(Some(Priority::Urgent)), ..Update::default() };
    let room = RoomId::parse("103").unwrap();
    let event = NewEvent { room, kind: EventKind::Update(urgent), source: Source::Operator };
    desk.store.accept(desk.account, &[event]).await.unwrap();
    assert_eq!(desk.work().await, [] as [String; 0]);

    for (room, position) in [("103", 1), ("101", 2), ("102", 3)] {
        assert_eq!(desk.run(&["explain", room, "--json"]).await["position"], position, "{room}");
    }
    let queue = desk.run(&["queue", "--json"]).await["queues"][0].clone();
    let first = &queue["conversations"][0];
    assert_eq!((&first["room"], &first["priority"]), (&"103".into(), &"urgent".into()), "{queue}");
    let words = "assignment policy Urgent first (version 3 of the rules): balanced, by priority";
    assert_eq!(queue["rules"]["in_words"], words);
    assert_eq!(queue["hold"], "the account is paused");
}

#[tokio::test]
async fn a_change_is_made_though_redis_is_gone() {
    let desk = Desk::on_servers().await;
    desk.redis().kill9();
    let (code, told) = desk.tell(&["pause", "--reason", "fire drill"]).await;
    assert_eq!(code, Some(0), "{told}");
    assert!(told.ends_with("; the workers were not woken, and see it at their next sweep\n"), "{told}");
    assert!(desk.store.rulebook(desk.account).await.unwrap().paused.is_some());
}

async fn what_sits_out_is_listed_with_its_reason_and_tried_again_at_a_word(desk: Desk) {
    desk.show_roster().await;
    let (code, none) = desk.tell(&["parked", "list"]).await;
    assert_eq!((code, none.as_str()), (Some(0), "nothing is parked\n"));
    desk.accept(&["101"]).await;
    for _ in 0..REFUSALS_MAX {
        assert_eq!(desk.refuse().await, ["101"]);
    }

    let listed = desk.run(&["parked", "list", "--json"]).await;
    let poison = &listed[0];
    assert_eq!((&poison["room"], &poison["why"]), (&"101".into(), &"poison".into()), "{listed}");
    assert_eq!(poison["refusals"], REFUSALS_MAX);
    assert_eq!(desk.work().await, [] as [String; 0]);
    let (_, why) = desk.tell(&["explain", "101"]).await;
    assert!(why.contains("the platform refused it again and again"), "{why}");

    let told = desk.run(&["parked", "retry", "101", "999", "--json"]).await;
    assert_eq!(told, json!({ "retried": ["101"], "not_parked": ["999"] }));

    assert_eq!(desk.work().await, ["101"]);
    assert_eq!(desk.run(&["parked", "list", "--json"]).await, json!([]));
}
