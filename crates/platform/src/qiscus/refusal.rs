//! What a 4xx refuses, told from its message, as Qiscus has no error codes.
//!
//! Only the message of a JSON body is read, word by word: a gateway's page or "the route
//! api/v1/admin/service/assign_agent could not be found" must not read as a word about an agent.
//! A wrong guess costs a chat, so what is not recognised stays [`Refusal::Other`].

use super::json::Json;
use crate::Refusal;

/// The refusal of a call that named a room, and perhaps an agent.
pub(super) fn refusal(status: u16, body: &str) -> Refusal {
    let message = message(body);
    let says = |word: &str| message.split(|c: char| !c.is_alphanumeric() && c != '_').any(|w| w == word);
    if message.contains("exceed max agent") {
        return Refusal::RoomTaken;
    }
    if says("resolved") {
        return Refusal::RoomResolved;
    }
    if says("agent") || says("agents") || says("agent_id") || (status == 422 && names_agent(body)) {
        return Refusal::Agent;
    }
    let room_named = says("room") || says("room_id");
    if room_named && (status == 404 || message.contains("not found")) {
        return Refusal::RoomUnknown;
    }
    // A conflict nobody explained: reading the room back tells, and that is what the caller does when it is taken.
    if status == 409 { Refusal::RoomTaken } else { Refusal::Other(status) }
}

/// Whether a 404 is the platform's word on what was asked for, not a gateway's page nor a wrong base URL's.
pub(super) fn is_not_found(body: &str) -> bool {
    let message = message(body);
    !message.is_empty() && !message.contains("route")
}

/// The message in lower case, wherever it stands: `errors.message`, `errors`, `message`, `error`.
fn message(body: &str) -> String {
    let Ok([errors, message, error]) = Json::new(body).object(["errors", "message", "error"]) else {
        return String::new();
    };
    let nested = errors.object(["message"]).map_or(Json::NULL, |[message]| message);
    let text = [nested, errors, message, error].into_iter().find_map(Json::text);
    text.unwrap_or_default().to_lowercase()
}

/// Whether field errors, as Laravel lists them, blame the agent's id.
fn names_agent(body: &str) -> bool {
    let blames = |errors: Json<'_>| errors.object(["agent_id"]).is_ok_and(|[agent]| !agent.is_null());
    Json::new(body).object(["errors"]).is_ok_and(|[errors]| blames(errors))
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn the_message_is_found_in_every_body_shape() {
        for body in [
            r#"{"errors":{"message":"Cant join room, EXCEED max agents"}}"#,
            r#"{"errors":"Cant join room, exceed max agents"}"#,
            r#"{"message":"cant join room, exceed max agents","status":400}"#,
            r#"{"error":"exceed max agents"}"#,
        ] {
            assert_eq!(refusal(400, body), Refusal::RoomTaken, "{body}");
        }
    }

    #[test]
    fn a_route_or_a_page_that_mentions_an_agent_refuses_none() {
        for body in [
            "",
            "<html>Cannot POST /agent in this room</html>",
            r#"{"message":"The route api/v1/admin/service/assign_agent could not be found."}"#,
        ] {
            assert_eq!(refusal(404, body), Refusal::Other(404), "{body}");
        }
    }

    #[test]
    fn a_404_is_about_what_it_names() {
        assert_eq!(refusal(404, r#"{"errors":"Agent not found"}"#), Refusal::Agent);
        assert_eq!(refusal(404, r#"{"errors":"Room not found"}"#), Refusal::RoomUnknown);
        assert_eq!(refusal(404, r#"{"errors":"Not found"}"#), Refusal::Other(404));
    }

    #[test]
    fn an_unexplained_conflict_is_a_taken_room_to_read_back() {
        assert_eq!(refusal(409, "{}"), Refusal::RoomTaken);
    }
}
