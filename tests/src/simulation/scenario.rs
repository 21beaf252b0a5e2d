//! What a seed plays: which faults are on and how strong, how large the crowd is and what it likes to do.
//!
//! Swarm testing: every seed leaves some faults and some actions out, because what always happens hides what happens only
//! alone.

use std::time::Duration;

use local::{Calls, Plan};

use super::Dice;

/// Operations with shares of their own.
const OPERATIONS: [&str; 7] =
    ["PutItem", "GetItem", "UpdateItem", "Query", "PutEvents", "PostToConnection", "GetConnection"];

/// A seed's play.
#[derive(Clone, Debug)]
pub struct Scenario {
    /// Decides everything.
    pub seed: u64,
    /// What goes wrong.
    pub plan: Plan,
    /// For how long.
    pub chaos: Duration,
    /// Whether the faults stop before Lambda's first retry of an invocation. Then nothing may be given up.
    pub inside_the_ladder: bool,
    /// How many take part.
    pub people: u64,
    /// What each of them does in one session, about.
    pub actions: u64,
    /// The longest pause between two actions.
    pub pause: Duration,
    /// How much each likes to do what.
    pub likes: Likes,
    /// How much longer everybody stays, once all has been judged, to be judged again.
    pub lingers: Option<Duration>,
    /// When some are cut off at once, and how many of a hundred.
    pub storms: Vec<(Duration, u64)>,
}

/// Weights of what people do.
#[derive(Clone, Debug)]
#[allow(missing_docs)] // each is an action
pub struct Likes {
    pub broadcast: u64,
    pub chat: u64,
    pub list: u64,
    pub ping: u64,
    pub mistake: u64,
    pub pause_reading: u64,
    /// Of a hundred sessions, those that end before the run does.
    pub leave: u64,
}

impl Scenario {
    /// What `seed` plays.
    #[must_use]
    pub fn of(seed: u64) -> Scenario {
        let mut dice = Dice::of(seed, "scenario");
        let inside_the_ladder = dice.chance(80);
        let chaos = if inside_the_ladder { dice.between(10, 50) } else { dice.between(90, 400) };
        // Large crowds say less: what a broadcast costs is people times people.
        let people = match dice.below(100) {
            0..=77 => dice.between(2, 6),
            78..=97 => dice.between(7, 12),
            _ => dice.between(40, 100),
        };
        let actions = match people {
            0..=6 => dice.between(3, 9),
            7..=12 => dice.between(1, 3),
            _ => 1,
        };
        let storms: Vec<_> =
            (0..dice.below(4)).map(|_| (Duration::from_secs(dice.below(chaos)), dice.between(30, 100))).collect();
        let plan = plan(seed, &mut dice, if inside_the_ladder { 8 } else { 3 });
        let likes = Likes {
            broadcast: dice.between(0, 4),
            chat: dice.between(1, 6),
            list: dice.below(2),
            ping: dice.below(2),
            mistake: dice.below(2),
            pause_reading: dice.below(2),
            leave: dice.below(80),
        };
        Scenario {
            seed,
            plan,
            chaos: Duration::from_secs(chaos),
            inside_the_ladder,
            people,
            actions,
            pause: Duration::from_millis(chaos * 1000 / actions.max(2)),
            likes,
            // A connection lasts two hours.
            lingers: (people <= 6 && dice.chance(3)).then_some(Duration::from_secs(7500)),
            storms,
        }
    }

    /// The same with nothing going wrong.
    #[must_use]
    pub fn calm(seed: u64) -> Scenario {
        Scenario {
            plan: Plan { seed, ..Plan::default() },
            inside_the_ladder: true,
            storms: Vec::new(),
            ..Scenario::of(seed)
        }
    }
}

/// Shares up to `strength` of a hundred; half of them are none.
fn plan(seed: u64, dice: &mut Dice, strength: u64) -> Plan {
    let share = |dice: &mut Dice, strength: u64| match dice.chance(50) {
        true => hundredths(dice.between(1, strength * 10)) / 10.0,
        false => 0.0,
    };
    let calls = OPERATIONS.map(|operation| {
        let calls = Calls {
            refuse: share(dice, strength),
            throttle: share(dice, strength),
            ignore: share(dice, strength / 2),
            fail_after: share(dice, strength),
            lose_answer: share(dice, strength),
            delay: share(dice, strength * 2),
            delay_ms: dice.between(1, 3000),
        };
        (operation.to_owned(), calls)
    });
    Plan {
        seed,
        calls: calls.into(),
        fail_entries: share(dice, strength * 3),
        early_gone: share(dice, 50),
        early_gone_ms: dice.between(1, 10_000),
        duplicate_batch: share(dice, 30),
        repeat_record: share(dice, 20),
        shuffle_batch: share(dice, 100),
        split_batch: share(dice, 80),
        late_batch: share(dice, 20),
        late_batch_ms: dice.between(1, 5000),
        duplicate_event: share(dice, 30),
        late_event: share(dice, 30),
        late_event_ms: dice.between(1, 8000),
        kill_function: share(dice, strength),
        kill_within_ms: dice.between(1, 200),
        drop_disconnect: share(dice, 100),
    }
}

#[expect(clippy::cast_precision_loss, reason = "small numbers")]
fn hundredths(number: u64) -> f64 {
    number as f64 / 100.0
}
