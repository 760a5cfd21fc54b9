//! What requests under way forget when a reap round begins (rule T1).

use alloc::vec::Vec;

use super::{Requests, answer, ask_silent_owners, ask_to_read, send_put, send_to_missing};
use crate::{
    env::Env, id::RequestId, message::Answer, record::Storage, rules::Mutant, step::Timer,
};

impl Requests {
    /// A reap round has begun: what was held in memory may be what it makes certain is nowhere (T1). Writes go on with
    /// what is stored here, reads ask again, and who has its reply needs no more of a read.
    pub(crate) fn forget<S: Storage>(&mut self, env: &mut Env<'_, S>) {
        let mut over = Vec::new();
        for (id, (_, put)) in &mut self.puts {
            match answer(env, &put.key) {
                _ if !env.keeps(Mutant::ReapKeepsWritesInMemory) => {}
                Answer::Found(object) => put.object = object,
                // It was handed over to all owners since, or damaged.
                Answer::Absent | Answer::Damaged => {
                    over.push(*id);
                    continue;
                }
            }
            if put.is_strict() && !put.replied {
                // It counts anew, and all are asked, as at any change of the view.
                continue;
            }
            send_to_missing(env, *id, put);
            for (owner, fallback) in put.asked().collect::<Vec<_>>() {
                if fallback != env.me {
                    send_put(env, fallback, owner, *id, put);
                }
            }
        }
        for (id, (_, get)) in &mut self.gets {
            if !env.keeps(Mutant::ReapKeepsReadsInMemory) {
                continue;
            }
            if get.replied {
                over.push(*id);
                continue;
            }
            if get.is_strict() {
                continue;
            }
            get.forget();
            get.hear(env.me, answer(env, &get.key), env.view.id(), env.config.rules);
            ask_silent_owners(env, *id, get);
            for fallback in get.fallbacks().to_vec() {
                if fallback != env.me {
                    ask_to_read(env, fallback, *id, get);
                }
            }
        }
        for id in over {
            self.give_up(env, id);
        }
    }

    /// Ends a request in the middle. If its client has no reply yet, nobody knows what becomes of it.
    fn give_up<S: Storage>(&mut self, env: &mut Env<'_, S>, id: RequestId) {
        if let Some((client, put)) = self.puts.remove(&id)
            && !put.replied
        {
            let response = put.response(env.me, env.view, env.config.rules);
            client.reply(env, &put.key, response);
        }
        self.gets.remove(&id);
        self.forget_reply(id);
        env.cancel_timer(Timer::Fallback(id));
        env.cancel_timer(Timer::Deadline(id));
    }
}
