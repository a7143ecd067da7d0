//! What a webhook means for the conversations of its room.

use crate::{
    Closed, Conversation, Event, EventKind, LatestService, Park, ParkReason, RoomId, Seq, ServiceId, State,
    Timestamp,
    rooms::{Opening, Rooms, resolved_id},
    routes::Routed,
};

impl Rooms {
    /// Applies one event. Events must come in order of acceptance.
    pub fn apply(&mut self, event: &Event) {
        match &event.kind {
            EventKind::Allocate { inbox, latest_service, hints } => {
                let routed = self.route(*inbox, hints);
                self.allocate(event, routed, latest_service.as_ref());
            }
            EventKind::Resolve { service } => self.resolve(event, service.as_ref()),
            EventKind::Update(update) => self.update(&event.room, update),
        }
    }

    fn allocate(&mut self, event: &Event, routed: Routed, latest: Option<&LatestService>) {
        let before = resolved_id(latest);
        if let Some(service) = before {
            // Its resolve may come after this event, and must not close the session that follows.
            self.remember_closed(&event.room, service);
        }
        let ongoing = self.ongoing(&event.room, latest);
        if let Some((index, _)) = self.open_in(&event.room).filter(|(_, open)| open.is_doubted()) {
            // Whoever writes after the resolve waits without doubt, from now on.
            self.end(index, Closed::Resolved);
        }
        let Some((index, _)) = self.open_in(&event.room) else {
            self.open_new(Opening::by(event, routed), latest);
            return;
        };
        let settle = self.timing.settle_window;
        let conversation = self.change(index);
        conversation.last_activity_at = conversation.last_activity_at.max(event.received_at);
        conversation.inbox = conversation.inbox.or(routed.inbox);
        let State::Assigned { at, .. } = conversation.state else {
            // Named as over while the customer waits: they wait in the next session by now.
            conversation.service =
                conversation.service.take().filter(|ours| Some(ours) != before).or(ongoing);
            self.hear(index);
            return;
        };
        if before.is_some() && before == conversation.service.as_ref() {
            // The resolve was overtaken: this event already speaks of the next session.
            self.close(index, Closed::Resolved);
            self.open_new(Opening::by(event, routed), latest);
            return;
        }
        let same_session = before.is_some() && before == conversation.opened_with.as_ref();
        let sent_before_assignment = event.received_at < at;
        if sent_before_assignment {
            conversation.service = conversation.service.take().or(ongoing);
        } else if !same_session && conversation.verify_at.is_none() {
            // The session it names may be ours or the next: learn nothing from it.
            conversation.verify_at = Some(event.received_at + settle);
            conversation.verify_from = Some((event.seq, event.received_at));
        }
        self.hear(index);
    }

    fn resolve(&mut self, event: &Event, service: Option<&ServiceId>) {
        if let Some(service) = service
            && !self.remember_closed(&event.room, service)
        {
            return;
        }
        let Some((index, ours)) = self.open_in(&event.room) else { return };
        let names_another = ours.service.is_some() && ours.service.as_ref() != service;
        if service.is_some() && (names_another || ours.opened_with.as_ref() == service) {
            return;
        }
        let conversation = self.change(index);
        conversation.service = conversation.service.take().or_else(|| service.cloned());
        let doubt =
            conversation.verify_at.zip(conversation.verify_from).filter(|_| conversation.is_assigned());
        let next = doubt.map(|(verify_at, began)| (verify_at, Opening::after(conversation, began)));
        let latest = conversation.service.clone().map(|id| LatestService { id, resolved: true });
        self.remember_session(index);
        self.close(index, Closed::Resolved);
        if let Some((verify_at, opening)) = next {
            self.open_new(opening, latest.as_ref());
            self.doubt(&event.room, verify_at.max(self.now + self.timing.settle_window));
        }
    }

    /// A customer's message came after an assignment and before the resolve. It may belong to the next session, or be
    /// a late copy of one of the last: its place is kept, and the room tells at `verify_at`, when the resolve shows.
    /// Without an answer the conversation waits like any other after a while, and the platform will say if the room is
    /// resolved.
    fn doubt(&mut self, room: &RoomId, verify_at: Timestamp) {
        let until = verify_at + self.timing.settle_window;
        let Some((index, _)) = self.open_in(room) else { return };
        let conversation = self.change(index);
        conversation.state = State::Waiting { park: Some(Park { until, why: ParkReason::Doubted }) };
        conversation.verify_at = Some(verify_at);
    }
}

impl Opening {
    fn by(event: &Event, routed: Routed) -> Self {
        let Routed { inbox, traits } = routed;
        let (position, opened_at) = (event.seq, event.received_at);
        Self { room: event.room.clone(), position, opened_at, wrote_at: opened_at, inbox, traits }
    }

    /// The session after `last`, begun by the event in this place at this time. Of what that told nothing else is known
    /// any more; it came from where the last one did.
    pub(crate) fn after(last: &Conversation, (position, opened_at): (Seq, Timestamp)) -> Self {
        Self {
            room: last.room.clone(),
            position,
            opened_at,
            wrote_at: last.last_activity_at,
            inbox: last.inbox,
            traits: last.traits.clone(),
        }
    }
}
