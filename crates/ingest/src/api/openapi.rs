//! The API's document, as OpenAPI 3.1 has it, made from the endpoints themselves.

use schemars::{
    SchemaGenerator,
    generate::{Contract, SchemaSettings},
};
use serde_json::{Map, Value, json};

use super::{
    BASE,
    endpoints::{self, Endpoint, Parameter},
};

/// The document. The committed copy is `openapi.json` beside this crate's manifest.
#[must_use]
pub fn openapi() -> Value {
    let settings = |contract: Contract| {
        let settings = SchemaSettings::draft2020_12();
        settings
            .with(|settings| {
                settings.definitions_path = "/components/schemas".into();
                settings.contract = contract;
                settings.meta_schema = None;
            })
            .into_generator()
    };
    let (mut sent, mut shown) = (settings(Contract::Deserialize), settings(Contract::Serialize));
    let mut paths = Map::new();
    for endpoint in endpoints::all() {
        for path in endpoint.paths() {
            let operation = operation(&endpoint, &path, &mut sent, &mut shown);
            let methods = paths.entry(path).or_insert_with(|| json!({}));
            methods[endpoint.method.as_str().to_lowercase()] = operation;
        }
    }
    // What is both sent and shown is described as it may be sent: with more left out.
    let mut schemas = shown.take_definitions(true);
    schemas.extend(sent.take_definitions(true));
    schemas.insert("Error".to_owned(), error());
    json!({
        "openapi": "3.1.0",
        "info": {
            "title": "Sebastian",
            "description": "What stands where and why, what operators set, and what conversations carry. Shapes and \
                statuses are those of Chatwoot's assignment API where it has the route.",
            "license": { "name": "MIT", "identifier": "MIT" },
            "version": "1",
        },
        "security": [{ "bearer": [] }, { "api_access_token": [] }],
        "paths": paths,
        "components": {
            "securitySchemes": {
                "bearer": { "type": "http", "scheme": "bearer" },
                "api_access_token": { "type": "apiKey", "in": "header", "name": "api_access_token" },
            },
            "schemas": schemas,
            "responses": refusals(),
        },
    })
}

fn operation(
    endpoint: &Endpoint,
    path: &str,
    sent: &mut SchemaGenerator,
    shown: &mut SchemaGenerator,
) -> Value {
    let mut answer =
        json!({ "description": if endpoint.gives.is_some() { "Done" } else { "Done; no body" } });
    if let Some(gives) = endpoint.gives {
        answer["content"] = json!({ "application/json": { "schema": gives(shown) } });
    }
    let refused = |status: &str| json!({ "$ref": format!("#/components/responses/{status}") });
    let mut operation = json!({
        "operationId": operation_id(endpoint, path),
        "summary": endpoint.summary,
        "parameters": parameters(path).chain(endpoint.query.iter().map(asked)).collect::<Vec<_>>(),
        "responses": {
            endpoint.status.to_string(): answer,
            "401": refused("401"),
            "403": refused("403"),
            "404": refused("404"),
            "503": refused("503"),
        },
    });
    if !endpoint.query.is_empty() || path.contains("{room}") {
        operation["responses"]["422"] = refused("422");
    }
    if let Some((takes, wrapper)) = endpoint.takes {
        let schema = takes(sent).to_value();
        let schema = match wrapper {
            Some(key) => json!({ "type": "object", "properties": { key: schema }, "required": [key] }),
            None => schema,
        };
        operation["requestBody"] = json!({ "content": { "application/json": { "schema": schema } } });
        operation["responses"]["400"] = refused("400");
        operation["responses"]["422"] = refused("422");
    }
    operation
}

/// The method and the path in one word: `put_teams_id`; where no account is named, `get_agents_without_account`.
fn operation_id(endpoint: &Endpoint, path: &str) -> String {
    let method = endpoint.method.as_str().to_lowercase();
    let parts = endpoint.path.split('/').filter(|part| !part.is_empty());
    let id = parts.fold(method, |id, part| format!("{id}_{}", part.trim_matches(['{', '}'])));
    if path.starts_with(BASE) { id } else { id + "_without_account" }
}

/// How each refusal is told, by status.
fn refusals() -> Value {
    let refusal = |description: &str| {
        let schema = json!({ "$ref": "#/components/schemas/Error" });
        json!({ "description": description, "content": { "application/json": { "schema": schema } } })
    };
    json!({
        "400": refusal("The body is no JSON"),
        "401": refusal("No token, an unknown one, or one that may only read"),
        "403": refusal("No token is configured, and the request does not come from this machine"),
        "404": refusal("Not there"),
        "422": refusal("Values that cannot be; `attributes` names the fields"),
        "503": refusal("The ledger does not answer"),
    })
}

fn parameters(path: &str) -> impl Iterator<Item = Value> {
    let parameter = |name: &str| {
        let (kind, description) = match name {
            "account" => ("string", "The account's number, or the platform's name for it"),
            "room" => ("string", "The room, as the platform names it"),
            "letter" => ("string", "The event's `webhook-id`"),
            _ => ("integer", "Its number"),
        };
        let schema = json!({ "type": kind });
        json!({ "name": name, "in": "path", "required": true, "description": description, "schema": schema })
    };
    let names = path.split('/').filter_map(|part| part.strip_prefix('{')?.strip_suffix('}'));
    names.map(parameter)
}

fn asked((name, kind, description): &Parameter) -> Value {
    json!({ "name": name, "in": "query", "description": description, "schema": { "type": kind } })
}

fn error() -> Value {
    let text = |description: &str| json!({ "type": "string", "description": description });
    json!({
        "type": "object",
        "required": ["error", "request_id"],
        "properties": {
            "error": text("What is wrong"),
            "request_id": text("Names the request in the log"),
            "advice": text("What to do about it"),
            "message": text("Of values that cannot be: all that is wrong with them"),
            "attributes": {
                "type": "array",
                "items": { "type": "string" },
                "description": "Of values that cannot be: the fields",
            },
        },
    })
}
