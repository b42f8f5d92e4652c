//! The load that others put on the machine while a test measures times.

/// The share of the processors' time from which others disturb a measurement.
const DISTURBING: f64 = 0.2;

/// The machine since a measurement began.
#[derive(Debug)]
pub struct Machine(Option<Ticks>);

/// Clock ticks since the machine started.
#[derive(Debug, Clone, Copy)]
struct Ticks {
    all: u64,
    idle: u64,
    own: u64,
}

impl Ticks {
    /// The ticks by now; `None` where the system does not count them as Linux does.
    fn now() -> Option<Self> {
        let machine = std::fs::read_to_string("/proc/stat").ok()?;
        // User, nice, system, idle, waiting for a disk, interrupts, soft interrupts, stolen by other machines.
        let fields = machine.lines().next()?.split_whitespace().skip(1).take(8);
        let fields: Vec<u64> = fields.map(|field| field.parse().ok()).collect::<Option<_>>()?;
        let process = std::fs::read_to_string("/proc/self/stat").ok()?;
        // The second field is a name in brackets, which may hold blanks; user and system time are the 14th and 15th.
        let own = process.rsplit(')').next()?.split_whitespace().skip(11).take(2);
        Some(Ticks {
            all: fields.iter().sum(),
            idle: fields.get(3)? + fields.get(4)?,
            own: own.filter_map(|field| field.parse::<u64>().ok()).sum(),
        })
    }
}

impl Machine {
    /// Begins a measurement.
    #[must_use]
    pub fn watch() -> Self {
        Machine(Ticks::now())
    }

    /// Tells whether other processes took so much of the processors since the measurement began that times of this one
    /// mean little.
    #[must_use]
    pub fn was_busy(&self) -> bool {
        let (Some(before), Some(now)) = (self.0, Ticks::now()) else { return false };
        let all = (now.all - before.all).max(1);
        let used = all.saturating_sub(now.idle.saturating_sub(before.idle));
        let others = used.saturating_sub(now.own - before.own);
        others as f64 / all as f64 > DISTURBING
    }
}
