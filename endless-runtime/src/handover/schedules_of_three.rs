//! A supervisor and its generations, in every order of messages, deaths and time that chance finds: as
//! [`super::schedules`], with a third party between the two.
//!
//! What must hold: at no time do two accept; the supervisor is never without listeners; and when nothing more
//! happens, one generation accepts while there is a supervisor, and none is left that starts or accepts without.

use std::collections::VecDeque;
use std::time::Duration;

use nix::sys::signal::Signal;
use proptest::collection::vec;
use proptest::prelude::*;

use super::arriving::{self, Arriving};
use super::message::{Asked, Hello, Inheritors, Message, Reason, Turn};
use super::process::End;
use super::replacing::{self, Replacing};

/// What chance, the world or somebody with a keyboard does next, and to the how manieth generation.
#[derive(Clone, Copy, Debug)]
enum Move {
    Restart,
    SupervisorHears(usize),
    SupervisorReaps,
    GenerationHears(usize),
    Bind,
    Fail,
    TimeOut,
    CallOff,
    Kill(usize),
    KillSupervisor,
    /// One that has drained ends.
    End,
}

fn moves() -> impl Strategy<Value = Vec<Move>> {
    let who = prop_oneof![3 => Just(0_usize), 1 => Just(1), 1 => Just(2)];
    let one = prop_oneof![
        40 => Just(Move::Restart),
        200 => who.clone().prop_map(Move::SupervisorHears),
        60 => Just(Move::SupervisorReaps),
        200 => who.clone().prop_map(Move::GenerationHears),
        60 => Just(Move::Bind),
        10 => Just(Move::Fail),
        30 => Just(Move::TimeOut),
        20 => Just(Move::CallOff),
        10 => who.prop_map(Move::Kill),
        5 => Just(Move::KillSupervisor),
        20 => Just(Move::End),
    ];
    vec(one, 0..300)
}

/// What the supervisor takes a generation for.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
enum Role {
    Starting,
    Serving,
    Draining,
}

struct Generation {
    role: Role,
    /// A process that has ended and is not reaped is not.
    alive: bool,
    arriving: Arriving,
    inherited: bool,
    /// What it does not serve, as it is about to return an error from main.
    failed: bool,
    has_arrived: bool,
    accepts: bool,
    drains: bool,
    /// Whether the supervisor has copies of its listeners.
    is_listed: bool,
    said: VecDeque<Message>,
    told: VecDeque<Message>,
}

enum Phase {
    Asking,
    Replacing(Replacing),
}

struct Supervisor {
    attempts: u64,
    phase: Option<Phase>,
    has_listeners: bool,
}

struct World {
    supervisor: Option<Supervisor>,
    generations: Vec<Generation>,
}

impl Generation {
    fn starting() -> Self {
        let told = [Message::Hello(Hello::default()), Message::Listeners(Vec::new()), Message::Complete];
        Self {
            role: Role::Starting,
            alive: true,
            arriving: Arriving::new(true),
            inherited: false,
            failed: false,
            has_arrived: false,
            accepts: false,
            drains: false,
            is_listed: false,
            said: VecDeque::new(),
            told: told.into(),
        }
    }

    fn serving() -> Self {
        Self {
            role: Role::Serving,
            inherited: true,
            has_arrived: true,
            accepts: true,
            is_listed: true,
            told: VecDeque::new(),
            ..Self::starting()
        }
    }

    fn hear(&mut self, has_supervisor: bool) {
        match self.told.pop_front() {
            None if has_supervisor || self.drains => {}
            None if self.has_arrived => self.drain(),
            None => self.learn(arriving::Happened::Gone),
            Some(message) if self.has_arrived => self.obey(message),
            Some(message) => self.learn(arriving::Happened::Said(message)),
        }
    }

    /// As `control/supervised.rs` does.
    fn obey(&mut self, message: Message) {
        match message {
            Message::Ask(Asked { attempt, .. }) => self.said.push_back(Message::Agreed(Turn { attempt })),
            Message::Pause(turn) => {
                self.accepts = false;
                self.said.push_back(Message::Paused(turn));
            }
            Message::Resume => self.accepts = !self.drains,
            Message::LetGo(_) => self.drain(),
            _ => {}
        }
    }

    fn drain(&mut self) {
        (self.accepts, self.drains) = (false, true);
    }

    fn learn(&mut self, happened: arriving::Happened) {
        for action in self.arriving.on(happened) {
            match action {
                arriving::Do::Inherit(_) => self.inherited = true,
                arriving::Do::Say(message) => {
                    if matches!(message, Message::Ready(_)) {
                        self.said.push_back(Message::Complete);
                    }
                    self.said.push_back(message);
                }
                arriving::Do::Serve => (self.accepts, self.has_arrived) = (true, true),
                arriving::Do::End(_) => self.alive = false,
            }
        }
    }
}

impl World {
    fn serving() -> Self {
        let supervisor = Supervisor { attempts: 0, phase: None, has_listeners: true };
        Self { supervisor: Some(supervisor), generations: vec![Generation::serving()] }
    }

    fn make(&mut self, one: Move) {
        match one {
            Move::Restart => self.restart(),
            Move::SupervisorHears(at) => {
                let talkative = self.those(|generation| !generation.said.is_empty());
                talkative.get(at).into_iter().for_each(|at| self.hear(*at));
            }
            Move::SupervisorReaps => self.reap(),
            Move::GenerationHears(at) => {
                let has_supervisor = self.supervisor.is_some();
                let told = |generation: &Generation| !has_supervisor || !generation.told.is_empty();
                let told = self.those(|generation| generation.alive && told(generation));
                told.get(at).into_iter().for_each(|at| self.generations[*at].hear(has_supervisor));
            }
            Move::Bind => {
                let bound = |starting: &mut Generation| starting.learn(arriving::Happened::Bound(vec![0]));
                self.arrivals().filter(|starting| starting.inherited).for_each(bound);
            }
            Move::Fail => self.arrivals().for_each(|starting| {
                starting.failed = true;
                starting.learn(arriving::Happened::Failed("no port".to_owned()));
            }),
            Move::TimeOut => self.time_out(),
            Move::CallOff => self.happened(replacing::Happened::CalledOff("not wanted".to_owned())),
            Move::Kill(at) => self.living(at).into_iter().for_each(|generation| generation.alive = false),
            Move::KillSupervisor => self.supervisor = None,
            Move::End => {
                let drained = self.generations.iter_mut().filter(|generation| generation.drains);
                drained.for_each(|generation| generation.alive = false);
            }
        }
        self.check();
    }

    fn those(&self, wanted: impl Fn(&Generation) -> bool) -> Vec<usize> {
        let all = self.generations.iter().enumerate();
        all.filter(|(_, generation)| wanted(generation)).map(|(at, _)| at).collect()
    }

    fn living(&mut self, at: usize) -> Option<&mut Generation> {
        self.generations.get_mut(at).filter(|generation| generation.alive)
    }

    fn arrivals(&mut self) -> impl Iterator<Item = &mut Generation> {
        self.generations.iter_mut().filter(|generation| generation.alive && !generation.has_arrived)
    }

    fn of_role(&mut self, role: Role) -> Option<&mut Generation> {
        self.generations.iter_mut().find(|generation| generation.role == role)
    }

    fn say(&mut self, role: Role, message: Message) {
        // Whoever is dead hears nothing.
        if let Some(generation) = self.of_role(role) {
            generation.told.push_back(message);
        }
    }

    // From here on as `supervisor/attempt.rs` does.

    fn restart(&mut self) {
        let Some(supervisor) = self.supervisor.as_mut().filter(|supervisor| supervisor.phase.is_none())
        else {
            return;
        };
        supervisor.attempts += 1;
        supervisor.phase = Some(Phase::Asking);
        let asked = Asked { attempt: supervisor.attempts, ..Asked::default() };
        match self.of_role(Role::Serving) {
            Some(serving) => serving.told.push_back(Message::Ask(asked)),
            None => self.start(),
        }
    }

    fn start(&mut self) {
        let Some(supervisor) = &mut self.supervisor else { return };
        supervisor.phase = Some(Phase::Replacing(Replacing::new(Duration::from_secs(60))));
        self.generations.push(Generation::starting());
    }

    fn hear(&mut self, at: usize) {
        let Some(supervisor) = &self.supervisor else { return };
        let Some(generation) = self.generations.get_mut(at) else { return };
        let Some(message) = generation.said.pop_front() else { return };
        let now = supervisor.attempts;
        match (generation.role, &supervisor.phase, message) {
            (Role::Starting, _, Message::Complete) => generation.is_listed = true,
            // Whoever has confirmed and is gone serves nobody.
            (Role::Starting, _, Message::Confirmed) if !generation.alive => {}
            (Role::Starting, _, message) => self.happened(replacing::Happened::Said(message)),
            (Role::Serving, Some(Phase::Asking), Message::Agreed(Turn { attempt })) if attempt == now => {
                self.start();
            }
            (Role::Serving, Some(Phase::Replacing(_)), Message::Paused(Turn { attempt }))
                if attempt == now =>
            {
                self.happened(replacing::Happened::Paused);
            }
            _ => {}
        }
    }

    fn reap(&mut self) {
        while self.supervisor.is_some()
            && let Some(at) = self.generations.iter().position(|generation| !generation.alive)
        {
            while !self.generations[at].said.is_empty() {
                self.hear(at);
            }
            let phase = self.supervisor.as_ref().and_then(|supervisor| supervisor.phase.as_ref());
            match (self.generations[at].role, phase) {
                (Role::Draining, _) => drop(self.generations.remove(at)),
                (Role::Starting, _) => {
                    self.generations.remove(at);
                    self.happened(replacing::Happened::Ended(End::Killed(Signal::SIGKILL)));
                }
                (Role::Serving, Some(Phase::Replacing(_))) => {
                    self.generations.remove(at);
                    self.happened(replacing::Happened::Paused);
                }
                (Role::Serving, Some(Phase::Asking) | None) => {
                    self.generations.remove(at);
                    self.start();
                }
            }
        }
    }

    fn time_out(&mut self) {
        match self.supervisor.as_ref().and_then(|supervisor| supervisor.phase.as_ref()) {
            Some(Phase::Asking) => self.start(),
            Some(Phase::Replacing(replacing)) if replacing.time().1.is_some() => {
                self.happened(replacing::Happened::TimeOut);
            }
            Some(Phase::Replacing(_)) | None => {}
        }
    }

    fn happened(&mut self, happened: replacing::Happened) {
        let mut all = VecDeque::from([happened]);
        while let Some(happened) = all.pop_front() {
            let phase = self.supervisor.as_mut().and_then(|supervisor| supervisor.phase.as_mut());
            let Some(Phase::Replacing(replacing)) = phase else { return };
            for action in replacing.on(happened) {
                all.extend(self.carry_out(action));
            }
        }
    }

    fn carry_out(&mut self, action: replacing::Do) -> Option<replacing::Happened> {
        let turn = Turn { attempt: self.supervisor.as_ref()?.attempts };
        match action {
            replacing::Do::Pause => match self.of_role(Role::Serving) {
                Some(serving) => serving.told.push_back(Message::Pause(turn)),
                None => return Some(replacing::Happened::Paused),
            },
            replacing::Do::Oust => match self.of_role(Role::Serving) {
                Some(serving) => serving.alive = false,
                None => return Some(replacing::Happened::Paused),
            },
            replacing::Do::Go => self.say(Role::Starting, Message::Go),
            replacing::Do::Reopen => self.say(Role::Serving, Message::Resume),
            replacing::Do::LetGo(_) => self.let_go(),
            replacing::Do::CallOff(reason) => self.say(Role::Starting, Message::CallOff(Reason { reason })),
            replacing::Do::Kill => {
                self.of_role(Role::Starting).into_iter().for_each(|successor| successor.alive = false);
            }
            replacing::Do::Finish(result) => self.finish(result),
        }
        None
    }

    fn let_go(&mut self) {
        self.say(Role::Serving, Message::LetGo(Inheritors::default()));
        self.of_role(Role::Serving).into_iter().for_each(|serving| serving.role = Role::Draining);
        let successor = self.of_role(Role::Starting).expect("who has confirmed is not reaped");
        assert!(successor.has_arrived, "listeners are let go, and nobody accepts");
        successor.role = Role::Serving;
        let has_listeners = successor.is_listed;
        self.supervisor.iter_mut().for_each(|supervisor| supervisor.has_listeners = has_listeners);
    }

    fn finish(&mut self, result: Result<(), String>) {
        let Some(supervisor) = &mut self.supervisor else { return };
        supervisor.phase = None;
        let Err(reason) = result else { return };
        assert!(self.of_role(Role::Starting).is_none(), "it was not reaped");
        match self.of_role(Role::Serving) {
            Some(serving) => serving.told.push_back(Message::NotRestarted(Reason { reason })),
            None => self.start(),
        }
    }

    fn check(&self) {
        let accepting = |generation: &&Generation| generation.alive && generation.accepts;
        assert!(self.generations.iter().filter(accepting).count() <= 1, "two accept");
        for role in [Role::Starting, Role::Serving] {
            let count = self.generations.iter().filter(|generation| generation.role == role).count();
            assert!(count <= 1, "{count} are {role:?}");
        }
        let bereft = self.supervisor.as_ref().is_some_and(|supervisor| !supervisor.has_listeners);
        assert!(!bereft, "the supervisor has no listeners");
    }

    /// Lets everything happen that happens by itself, and at last the time run out.
    fn settle(&mut self) {
        for round in 0..40 {
            if self.is_settled() {
                return;
            }
            for _ in 0..4 {
                (0..3).for_each(|at| self.make(Move::GenerationHears(at)));
                self.make(Move::Bind);
                (0..3).for_each(|at| self.make(Move::SupervisorHears(at)));
            }
            // Main returns its error.
            self.arrivals().filter(|starting| starting.failed).for_each(|starting| starting.alive = false);
            self.make(Move::End);
            self.make(Move::SupervisorReaps);
            if round % 10 == 9 {
                self.make(Move::TimeOut);
            }
        }
    }

    fn is_settled(&self) -> bool {
        let alive = || self.generations.iter().filter(|generation| generation.alive);
        match &self.supervisor {
            Some(supervisor) => {
                supervisor.phase.is_none() && alive().filter(|generation| generation.accepts).count() == 1
            }
            None => alive().count() == 0,
        }
    }
}

proptest! {
    #![proptest_config(ProptestConfig { failure_persistence: None, ..ProptestConfig::default() })]

    #[test]
    fn no_schedule_leaves_a_supervisor_without_a_service(moves in moves()) {
        let mut world = World::serving();
        moves.into_iter().for_each(|one| world.make(one));
        world.settle();
        prop_assert!(world.is_settled());
        let restarts = world.supervisor.as_ref().map(|supervisor| supervisor.attempts);
        world.restart();
        world.settle();
        prop_assert!(world.is_settled(), "the next one succeeds");
        let restarted = world.supervisor.as_ref().map(|supervisor| supervisor.attempts);
        prop_assert_eq!(restarted, restarts.map(|restarts| restarts + 1));
    }
}
