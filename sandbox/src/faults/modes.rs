//! The fault modes: their names, when they act, and the parameters each takes.

/// When a mode acts.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
pub(crate) enum Phase {
    /// On a connection just accepted, before TLS and before any request.
    Accept,
    /// After a request's head, before its body.
    Head,
    /// After the whole request.
    Request,
}

/// What is done badly. The table below says what each means.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
pub(crate) enum Mode {
    ResetOnAccept,
    CloseOnAccept,
    SilentOnAccept,
    GarbageOnAccept,
    ResetBeforeBody,
    StopReading,
    EarlyResponse,
    Status,
    RespondAfterApply,
    Delay,
    Hang,
    ResetAfterRequest,
    CloseAfterRequest,
    Truncate,
    ResetMidBody,
    Drip,
    Stall,
    Oversize,
    ExtraBytes,
    CloseDelimited,
    Chunked,
    BadChunk,
    Garbage,
    Raw,
    Interim,
    Switch101,
    Empty,
    CloseIdle,
}

/// One row of the table.
#[derive(Debug)]
pub(crate) struct Row {
    pub(crate) name: &'static str,
    pub(crate) mode: Mode,
    pub(crate) phase: Phase,
    /// Whether the update is applied when the rule does not say.
    pub(crate) applies: bool,
    pub(crate) parameters: &'static [&'static str],
    pub(crate) does: &'static str,
}

/// The parameters by which a rule changes the answer that is then sent badly.
pub(crate) const ANSWER: [&str; 4] = ["status", "body", "body_base64", "headers"];

const fn row(
    name: &'static str,
    mode: Mode,
    phase: Phase,
    applies: bool,
    parameters: &'static [&'static str],
    does: &'static str,
) -> Row {
    Row { name, mode, phase, applies, parameters, does }
}

use Phase::{Accept, Head, Request};

/// Every mode. `"answer"` among the parameters stands for those of [`ANSWER`].
pub(crate) const TABLE: &[Row] = &[
    row("reset_on_accept", Mode::ResetOnAccept, Accept, false, &[], "RST right after accepting"),
    row("close_on_accept", Mode::CloseOnAccept, Accept, false, &[], "FIN right after accepting"),
    row(
        "silent_on_accept",
        Mode::SilentOnAccept,
        Accept,
        false,
        &["max_ms"],
        "accepts, then neither reads nor speaks",
    ),
    row(
        "not_accept_tls",
        Mode::SilentOnAccept,
        Accept,
        false,
        &["max_ms"],
        "the same, named for TLS listeners: no handshake",
    ),
    row(
        "garbage_on_accept",
        Mode::GarbageOnAccept,
        Accept,
        false,
        &["data", "data_base64"],
        "raw bytes on the bare socket, then FIN; on a TLS listener this stands in for the handshake",
    ),
    row("reset_before_body", Mode::ResetBeforeBody, Head, false, &[], "RST after the head, the body unread"),
    row(
        "stop_reading",
        Mode::StopReading,
        Head,
        false,
        &["max_ms"],
        "stops reading after the head, then FIN",
    ),
    row(
        "early_response",
        Mode::EarlyResponse,
        Head,
        false,
        &["answer", "reset"],
        "answers after the head (413 by default), the body unread, then closes or resets",
    ),
    row(
        "status",
        Mode::Status,
        Request,
        false,
        &["answer", "close"],
        "answers with a status (503 by default), nothing applied",
    ),
    row(
        "respond_after_apply",
        Mode::RespondAfterApply,
        Request,
        true,
        &["answer", "apply", "close"],
        "applies, then answers otherwise",
    ),
    row("delay", Mode::Delay, Request, true, &["answer", "apply_late"], "answers normally after delay_ms"),
    row("hang", Mode::Hang, Request, false, &["apply", "max_ms"], "never answers"),
    row(
        "reset_after_request",
        Mode::ResetAfterRequest,
        Request,
        false,
        &["apply"],
        "RST instead of an answer",
    ),
    row(
        "close_after_request",
        Mode::CloseAfterRequest,
        Request,
        false,
        &["apply"],
        "FIN instead of an answer",
    ),
    row(
        "truncate",
        Mode::Truncate,
        Request,
        true,
        &["answer", "apply", "bytes", "reset"],
        "the full Content-Length, but only `bytes` of the body, then closes or resets",
    ),
    row(
        "reset_mid_body",
        Mode::ResetMidBody,
        Request,
        true,
        &["answer", "apply", "bytes"],
        "`bytes` of the body, then RST",
    ),
    row(
        "drip",
        Mode::Drip,
        Request,
        true,
        &["answer", "apply", "part", "interval_ms"],
        "one part of the answer byte by byte",
    ),
    row(
        "stall",
        Mode::Stall,
        Request,
        true,
        &["answer", "apply", "bytes", "max_ms"],
        "`bytes` of the body, then silence",
    ),
    row(
        "oversize",
        Mode::Oversize,
        Request,
        true,
        &["answer", "apply", "bytes", "endless", "max_ms"],
        "a valid answer padded to more than `bytes`, or endless chunks",
    ),
    row(
        "extra_bytes",
        Mode::ExtraBytes,
        Request,
        true,
        &["answer", "apply", "data", "data_base64", "close"],
        "bytes after the declared body",
    ),
    row(
        "close_delimited",
        Mode::CloseDelimited,
        Request,
        true,
        &["answer", "apply", "bytes"],
        "no length: the body ends with the connection",
    ),
    row(
        "chunked",
        Mode::Chunked,
        Request,
        true,
        &["answer", "apply", "chunk_bytes", "trailers"],
        "a correct chunked answer",
    ),
    row(
        "bad_chunk",
        Mode::BadChunk,
        Request,
        true,
        &["answer", "apply", "kind"],
        "a chunked answer with one error",
    ),
    row(
        "garbage",
        Mode::Garbage,
        Request,
        false,
        &["apply", "data", "data_base64"],
        "bytes that are not HTTP, then closes",
    ),
    row(
        "raw",
        Mode::Raw,
        Request,
        false,
        &["apply", "data", "data_base64", "close"],
        "the given bytes as the whole response",
    ),
    row(
        "interim",
        Mode::Interim,
        Request,
        true,
        &["answer", "apply", "n", "interim_status", "interval_ms"],
        "n interim responses before the answer",
    ),
    row(
        "switch_101",
        Mode::Switch101,
        Request,
        false,
        &["apply", "data", "data_base64", "max_ms"],
        "101 to another protocol, its first bytes, then silence",
    ),
    row(
        "empty",
        Mode::Empty,
        Request,
        true,
        &["status", "apply", "headers"],
        "a status without a body (204 by default)",
    ),
    row(
        "close_idle",
        Mode::CloseIdle,
        Request,
        true,
        &["answer", "apply", "idle_ms"],
        "answers, then closes when idle for idle_ms",
    ),
];

impl Mode {
    fn row(self) -> Option<&'static Row> {
        TABLE.iter().find(|row| row.mode == self)
    }

    /// The name in rules and in the ledger.
    pub(crate) fn name(self) -> &'static str {
        self.row().map_or("", |row| row.name)
    }

    /// When it acts.
    pub(crate) fn phase(self) -> Phase {
        self.row().map_or(Phase::Request, |row| row.phase)
    }
}
