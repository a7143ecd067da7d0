//! Rows about Libredesk.

mod engine;
mod format;
mod swrr;

use serde_json::Value;

use crate::report::Tried;

/// Tries every row: the balancer's alone, the engine's against each of its variants.
pub fn run(document: &Value) -> Vec<Tried> {
    let rows = document["vectors"].as_array().into_iter().flatten();
    rows.map(|row| Tried {
        system: "libredesk",
        id: row["id"].as_str().unwrap_or_default().to_owned(),
        marked: row.get("quirk").is_some_and(|why| !why.is_null()),
        checks: if row["kind"] == "swrr" { vec![swrr::play(row)] } else { engine::play(row) },
        row: row.clone(),
    })
    .collect()
}
