//! Sending webhooks, as the platform does: JSON, no signature, to the one URL set for each.

use serde_json::Value;

use super::Shared;

/// A webhook that was sent.
#[derive(Debug, Clone)]
pub struct Delivery {
    /// Its body.
    pub body: Value,
    /// The last status each copy was answered with; `None` when no attempt was answered. Empty: no URL is set.
    pub statuses: Vec<Option<u16>>,
}

impl Delivery {
    /// Whether every copy that was sent met a 2xx, and at least one was sent.
    #[must_use]
    pub fn accepted(&self) -> bool {
        let accepted = |status: &Option<u16>| status.is_some_and(|status| (200..300).contains(&status));
        !self.statuses.is_empty() && self.statuses.iter().all(accepted)
    }
}

impl Shared {
    /// Sends an allocation webhook to the URL set for it, all copies at once.
    pub async fn send_allocation(&self, body: &Value) -> Vec<Option<u16>> {
        let Some(url) = self.lock().hooks.allocate.target() else { return Vec::new() };
        let mut copies = tokio::task::JoinSet::new();
        for _ in 1..self.delivery.allocation_copies {
            let (sender, url, body) = (self.sender(), url.clone(), body.clone());
            copies.spawn(async move { sender.send(&url, &body).await });
        }
        let mut statuses = vec![self.sender().send(&url, body).await];
        while let Some(status) = copies.join_next().await {
            statuses.push(status.ok().flatten());
        }
        statuses
    }

    /// Sends a resolve webhook to the URL set for it.
    pub async fn send_resolve(&self, body: &Value) -> Vec<Option<u16>> {
        let Some(url) = self.lock().hooks.resolve.target() else { return Vec::new() };
        vec![self.sender().send(&url, body).await]
    }

    fn sender(&self) -> Sender {
        Sender { client: self.client.clone(), delivery: self.delivery.clone() }
    }
}

/// Enough to send one webhook from a task of its own.
struct Sender {
    client: reqwest::Client,
    delivery: super::WebhookDelivery,
}

impl Sender {
    /// Tries up to the configured number of attempts; the last status heard.
    async fn send(&self, url: &str, body: &Value) -> Option<u16> {
        let mut heard = None;
        for attempt in 1..=self.delivery.attempts {
            let answer = self.client.post(url).timeout(self.delivery.timeout).json(body).send().await;
            heard = answer.ok().map(|answer| answer.status().as_u16()).or(heard);
            if heard.is_some_and(|status| (200..300).contains(&status)) {
                break;
            }
            if attempt < self.delivery.attempts {
                tokio::time::sleep(self.delivery.pause).await;
            }
        }
        heard
    }
}
