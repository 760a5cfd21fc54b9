//! The clients' side of a world: what they ask, and what they make of the replies.

use std::{collections::BTreeSet, sync::Arc};

use cartwheel_protocol::{
    Input,
    bucket::Spread,
    context::{Binding, Context},
    id::{AddId, Incarnation},
    key::Key,
    object::{Addition, Object},
    record::Record,
    request::{Operation, Refusal, Request, Response},
    version::{Actor, Dot, VersionVector},
};

use crate::{
    action::Action,
    client::{Attempt, Current, Op, Task, What},
    ghost::{Fact, Status},
    property::Property,
    setup::Budget,
    witness::{Observer, Witness},
    world::World,
};

impl World {
    pub(crate) fn list_clients(&self, actions: &mut Vec<Action>) {
        for number in 0..self.clients.len() {
            let client = number as u8;
            if let Some(task) = self.next_task(client) {
                let at = task.at.iter().filter(|at| self.hosts[usize::from(**at)].view.is_some());
                actions.extend(at.map(|at| Action::Ask { client, at: *at }));
            }
            if self.left(Budget::Retry) > 0 {
                self.list_retries(client, actions);
            }
        }
    }

    fn list_retries(&self, client: u8, actions: &mut Vec<Action>) {
        let state = &self.clients[usize::from(client)];
        let Some(current) = &state.current else { return };
        let task = &self.setup.clients[usize::from(client)].tasks[usize::from(current.step)];
        for at in &task.retry_at {
            let tried = state.attempts.iter().any(|a| a.host == *at && a.step == current.step);
            if !tried && self.hosts[usize::from(*at)].is_up() {
                actions.push(Action::Retry { client, at: *at });
            }
        }
    }

    /// What the client would begin now. Client k starts after client k − 1.
    fn next_task(&self, client: u8) -> Option<&Task> {
        let state = &self.clients[usize::from(client)];
        let free = state.current.is_none() && !state.stopped;
        let in_turn =
            client == 0 || state.begun > 0 || self.clients[usize::from(client) - 1].begun > 0;
        let task = self.setup.clients[usize::from(client)].tasks.get(usize::from(state.begun))?;
        let ready = task.after.is_none_or(|op| self.is_over(op));
        (free && in_turn && ready).then_some(task)
    }

    /// The request that the client makes next.
    pub(crate) fn next_request(&self, client: u8) -> Request {
        self.request(Op { client, step: self.clients[usize::from(client)].begun })
    }

    fn task(&self, op: Op) -> &Task {
        &self.setup.clients[usize::from(op.client)].tasks[usize::from(op.step)]
    }

    /// The request of a task, the same in every attempt.
    fn request(&self, op: Op) -> Request {
        let task = self.task(op);
        let key = self.setup.keys[usize::from(task.key)].key.clone();
        let client = &self.clients[usize::from(op.client)];
        let context = match task.what {
            What::PutForeign | What::AddForeign => Some(self.foreign_context()),
            What::Put | What::Delete | What::Add | What::Change => client.context.clone(),
            What::Get | What::CancelShown | What::Cancel(_) | What::AcceptLoss => None,
        };
        let added = || Addition { add_id: op.add_id(), sku: Arc::from("milk"), quantity: 1 };
        let operation = match task.what {
            What::Get => Operation::Get,
            What::AcceptLoss => Operation::AcceptLoss,
            What::Put | What::PutForeign => {
                let value = Arc::from(op.to_string().as_bytes());
                Operation::Put { context, put_id: op.put_id(), time_us: 0, value }
            }
            What::Delete => Operation::Delete { context },
            What::Add | What::AddForeign => {
                Operation::Change { cancel: Arc::from([]), add: Some(added()), context }
            }
            What::Change => {
                Operation::Change { cancel: client.shown.clone(), add: Some(added()), context }
            }
            What::CancelShown => {
                Operation::Change { cancel: client.shown.clone(), add: None, context }
            }
            What::Cancel(other) => {
                Operation::Change { cancel: Arc::from([other.add_id()]), add: None, context }
            }
        };
        Request { key, operation, quorum: task.quorum, strict: task.strict, timeout_ms: 1_000 }
    }

    /// A context of another key that covers whatever the nodes' first runs will write.
    fn foreign_context(&self) -> Context {
        let other = Key::new(self.setup.bucket.name.clone(), &b"another"[..]);
        let dots = self.setup.nodes.iter().flat_map(|node| {
            let incarnation = Incarnation(node.0 * 16 + 1);
            (0..4).map(move |n| Dot { actor: Actor { incarnation, n }, counter: 9 })
        });
        let binding = Binding::new(self.setup.config.cluster, &other);
        Context::new(binding, VersionVector::from_dots(dots))
    }

    pub(crate) fn ask(&mut self, client: u8, at: u8, observer: &mut impl Observer) {
        let op = Op { client, step: self.clients[usize::from(client)].begun };
        let request = self.request(op);
        if !request.operation.is_read() && !request.operation.is_local() {
            self.record(op, &request);
        }
        let before = self.strict_and_acknowledged();
        // A read of every owner says that all are equal only if nothing older can still arrive.
        let calm = self.is_at_rest();
        let state = &mut self.clients.make_mut()[usize::from(client)];
        state.begun += 1;
        state.current = Some(Current { step: op.step, before, calm, unknown: false });
        self.attempt(op, at, request, observer);
    }

    /// Removals are recorded at invocation, as what the request itself says.
    fn record(&mut self, op: Op, request: &Request) {
        let (removes, cancels) = match &request.operation {
            Operation::Put { context, .. } | Operation::Delete { context } => {
                let own = !self.task(op).what.is_foreign();
                let removes = context.as_ref().filter(|_| own).map(|c| c.seen().clone());
                (removes.unwrap_or_default(), Arc::from([]))
            }
            Operation::Change { cancel, .. } => (VersionVector::default(), cancel.clone()),
            Operation::Get | Operation::GetLocal | Operation::AcceptLoss => {
                (VersionVector::default(), Arc::from([]))
            }
        };
        let ghost = self.ghost.make_mut();
        let lost_before = ghost.lost;
        let acknowledged = |add_id: &AddId| {
            let fact = Op::of(add_id.0).and_then(|op| ghost.fact(op));
            fact.is_some_and(|fact| fact.status == Status::Acknowledged)
        };
        let reaches = !cancels.is_empty() && cancels.iter().all(acknowledged);
        let status = Status::Asked;
        ghost.asked(op, Fact { removes, cancels, lost_before, reaches, status });
    }

    fn strict_and_acknowledged(&self) -> u64 {
        let acknowledged = self
            .ghost
            .facts()
            .filter(|(op, fact)| fact.status == Status::Acknowledged && self.task(*op).strict);
        acknowledged.fold(0, |bits, (op, _)| bits | op.bit())
    }

    pub(crate) fn retry(&mut self, client: u8, at: u8, observer: &mut impl Observer) {
        let current = self.clients[usize::from(client)].current.as_ref();
        let step = current.expect("a task is under way").step;
        let op = Op { client, step };
        let request = self.request(op);
        self.attempt(op, at, request, observer);
    }

    fn attempt(&mut self, op: Op, at: u8, request: Request, observer: &mut impl Observer) {
        let host = self.hosts[usize::from(at)].make_mut();
        host.asked += 1;
        let number = host.asked;
        let attempts = &mut self.clients.make_mut()[usize::from(op.client)].attempts;
        attempts.push(Attempt { host: at, number, step: op.step });
        attempts.sort_unstable();
        self.step(usize::from(at), Input::Request { number, request }, observer);
    }

    /// A node died: its clients will hear nothing of what they asked there.
    pub(crate) fn hang_up(&mut self, at: usize, observer: &mut impl Observer) {
        for number in 0..self.clients.len() {
            let attempts = &self.clients[number].attempts;
            let cut: Vec<Attempt> =
                attempts.iter().filter(|a| usize::from(a.host) == at).copied().collect();
            for attempt in cut {
                self.clients.make_mut()[number].attempts.retain(|known| *known != attempt);
                self.failed(number as u8, attempt.step, false, observer);
            }
        }
    }

    /// A node replies to one of its clients.
    pub(crate) fn hear(
        &mut self,
        at: usize,
        number: u64,
        response: &Response,
        observer: &mut impl Observer,
    ) {
        let asked =
            |attempt: &&Attempt| usize::from(attempt.host) == at && attempt.number == number;
        let found =
            self.clients.iter().enumerate().find_map(|(client, state)| {
                Some((client as u8, *state.attempts.iter().find(asked)?))
            });
        let Some((client, attempt)) = found else {
            return self.ghost.make_mut().violate(Property::OneReplyPerRequest);
        };
        let state = &mut self.clients.make_mut()[usize::from(client)];
        state.attempts.retain(|known| *known != attempt);
        let op = Op { client, step: attempt.step };
        if self.task(op).what.is_foreign()
            && *response != Response::Refused(Refusal::ForeignContext)
        {
            self.ghost.make_mut().violate(Property::ForeignContextsAreRefused);
        }
        match response {
            Response::Found { object, context, owners, fallbacks } => {
                self.note_joint(at, op, observer);
                self.judge_read(op, object, (*owners, *fallbacks), observer);
                self.read(op, (object, context), *owners, observer);
            }
            // No client of a model asks for what a node itself stores: a loss was accepted.
            Response::Held { .. } => {
                observer.note(Witness::LossAccepted);
                self.end(op, true);
            }
            Response::Written { slots, .. } => {
                self.note_joint(at, op, observer);
                self.written(op, *slots, observer);
            }
            Response::Refused(refusal) => {
                match refusal {
                    Refusal::ForeignContext => observer.note(Witness::ForeignRefused),
                    Refusal::TooOld(_) => observer.note(Witness::TooOld),
                    Refusal::Overloaded => observer.note(Witness::Overloaded),
                    Refusal::Unavailable { .. } => observer.note(Witness::Unavailable),
                    Refusal::KeyEmpty
                    | Refusal::KeyTooLong(_)
                    | Refusal::ValueTooLong(_)
                    | Refusal::SkuLength(_)
                    | Refusal::UnknownBucket
                    | Refusal::WrongKind(_)
                    | Refusal::Quantity(_)
                    | Refusal::CartFull(_)
                    | Refusal::TooManyCancels { .. }
                    | Refusal::TooManySiblings(_)
                    | Refusal::Quorum { .. }
                    | Refusal::StrictQuorum { .. }
                    | Refusal::TooFewZones { .. }
                    | Refusal::NotReady
                    | Refusal::Damaged
                    | Refusal::NotDamaged
                    | Refusal::OwnersSilent { .. }
                    | Refusal::DiskFull => {}
                }
                self.failed(client, attempt.step, refusal.is_definite(), observer);
            }
        }
    }

    fn note_joint(&self, at: usize, op: Op, observer: &mut impl Observer) {
        if self.view_of(at).is_some_and(|view| view.next().is_some()) {
            let is_read = self.task(op).what == What::Get;
            let before = self.clients[usize::from(op.client)].current.as_ref().map(|c| c.before);
            match is_read {
                true if before.is_some_and(|before| before != 0) => {
                    observer.note(Witness::JointRead);
                }
                true => {}
                false => observer.note(Witness::JointWrite),
            }
        }
    }

    /// A read was answered: the client keeps what its later tasks use.
    fn read(
        &mut self,
        op: Op,
        (object, context): (&Object, &Context),
        owners: u8,
        observer: &mut impl Observer,
    ) {
        let n = self.setup.bucket.n;
        let tasks = &self.setup.clients[usize::from(op.client)].tasks;
        let later = tasks[usize::from(op.step) + 1..].iter();
        let mut later = later.take_while(|task| task.what != What::Get);
        let used = later.any(|task| task.what.uses_context());
        let additions = object.additions();
        let state = &mut self.clients.make_mut()[usize::from(op.client)];
        let Some(current) = state.current.take_if(|current| current.step == op.step) else {
            return;
        };
        state.context = used.then(|| context.clone());
        state.shown = additions.iter().filter(|_| used).map(|addition| addition.add_id).collect();
        if self.ghost.stirred && current.calm && owners == n && self.setup.keys.len() == 1 {
            self.ghost.make_mut().stirred = false;
            observer.note(Witness::Mended);
        }
    }

    /// A write was acknowledged.
    fn written(&mut self, op: Op, slots: u8, observer: &mut impl Observer) {
        let need = self.need(op);
        if slots < need || slots > self.setup.bucket.n {
            self.ghost.make_mut().violate(Property::LimitsHold);
        }
        observer.note(Witness::Acknowledged);
        if slots == self.setup.bucket.n {
            observer.note(Witness::SlotsAll);
        }
        let newest = self.newest().clone();
        let owns = |at: usize| self.setup.owns_in(at, &newest);
        if self.holders(op, owns) < usize::from(need) {
            observer.note(Witness::FallbackCounted);
        }
        let everywhere = self.hosts.len() == usize::from(slots);
        let fact = self.ghost.make_mut().fact_mut(op).expect("it was recorded when asked");
        if fact.status == Status::Acknowledged {
            observer.note(Witness::RetriedTwice);
        }
        fact.status = Status::Acknowledged;
        fact.reaches &= everywhere;
        self.end(op, true);
    }

    /// An attempt came to nothing, as far as the client can tell.
    fn failed(&mut self, client: u8, step: u8, definite: bool, observer: &mut impl Observer) {
        let state = &mut self.clients.make_mut()[usize::from(client)];
        let open = state.attempts.iter().any(|attempt| attempt.step == step);
        let Some(current) = state.current.as_mut().filter(|current| current.step == step) else {
            return;
        };
        current.unknown |= !definite;
        if open {
            return;
        }
        let op = Op { client, step };
        if !current.unknown
            && let Some(fact) = self.ghost.make_mut().fact_mut(op)
        {
            fact.status = Status::Refused;
            // Nothing of it may be anywhere.
            self.judge_refused(op, observer);
        }
        self.end(op, false);
    }

    fn end(&mut self, op: Op, well: bool) {
        let goes_on = self.setup.clients[usize::from(op.client)].goes_on;
        let tasks = self.setup.clients[usize::from(op.client)].tasks.len();
        let state = &mut self.clients.make_mut()[usize::from(op.client)];
        if state.current.take_if(|current| current.step == op.step).is_some() {
            state.stopped |= !well && !goes_on;
            if usize::from(state.begun) == tasks || state.stopped {
                state.context = None;
                state.shown = Arc::from([]);
            }
        }
    }

    /// How many slots a write must fill.
    pub(crate) fn need(&self, op: Op) -> u8 {
        let (task, bucket) = (self.task(op), &self.setup.bucket);
        let default = if task.strict { bucket.w.max(bucket.strict_w) } else { bucket.w };
        task.quorum.unwrap_or(default)
    }

    /// How many of these nodes hold all that a write did, durably; how many zones of theirs, if zones count.
    pub(crate) fn holders(&self, op: Op, among: impl Fn(usize) -> bool) -> usize {
        let task = self.task(op);
        let place = &self.setup.keys[usize::from(task.key)];
        let bound = self.setup.bucket.cancelled_bound as usize;
        let holds = |at: &usize| {
            // Where nothing is, a reap round may have taken it away.
            let nothing = Record::default();
            let cell = self.hosts[*at].disk.durable_cell(place);
            let record = cell.map_or(Some(&nothing), |cell| cell.record());
            record.is_some_and(|r| self.ghost.holds(r, op, task.what.is_entry(), bound))
        };
        let holders = (0..self.hosts.len()).filter(|at| among(*at)).filter(holds);
        match self.setup.bucket.spread {
            Spread::Node => holders.count(),
            Spread::Zone => holders.map(|at| self.setup.zone(at)).collect::<BTreeSet<u8>>().len(),
        }
    }

    pub(crate) fn is_strict(&self, op: Op) -> bool {
        self.task(op).strict
    }

    pub(crate) fn key_of(&self, op: Op) -> u8 {
        self.task(op).key
    }
}
