//! Causes of problems and the caller's way out of them, for the documentation.

use crate::types::code::Code;

/// Cause and remedy of one problem code.
#[derive(Debug, Clone, Copy)]
pub struct Remedy {
    /// Sentences that say what happened.
    pub cause: &'static str,
    /// Sentences that say what the caller does now.
    pub action: &'static str,
}

macro_rules! remedies {
    ($($code:ident: $cause:literal => $action:literal;)*) => {
        /// Looks up the remedy of a code.
        pub fn of(code: Code) -> Remedy {
            match code { $(Code::$code => Remedy { cause: $cause, action: $action },)* }
        }
    };
}

remedies! {
    MalformedJson: "The body is not JSON, names a member twice, is nested deeper than 128 levels, or ended early."
        => "Correct the body.";
    InvalidId: "The id in the path is empty, `.` or `..`, has a bad percent-escape, holds control characters or invalid UTF-8, is longer than 512 bytes once decoded, or lacks a part that the vendor's ids have."
        => "Send `{upstream}:{vendor id}` as one percent-encoded segment. `detail` says what is wrong.";
    InvalidQuery: "The query holds something that the resource does not know."
        => "Send `dry_run=true`, `dry_run=false` or no query.";
    InvalidHeader: "A header of the request cannot be accepted. `detail` names it."
        => "Correct the header, or leave it out.";
    CallerUnauthenticated: "Callers are configured, and the request has no valid key and no known client certificate."
        => "Send the caller's key as `Authorization: Bearer`. The operator issues keys.";
    CallerForbidden: "The caller may not use the upstream that the id leads to."
        => "Name another upstream, or ask the operator for access.";
    NotFound: "The path names no resource."
        => "Use `/conversations/{id}` or `/openapi.json`. A slash inside an id is written `%2F`.";
    NoRoute: "The id names no upstream, no routing rule matches it, and there is no default upstream."
        => "Put the name of an upstream and a colon before the vendor's id.";
    MethodNotAllowed: "The resource does not have this method."
        => "Use one of the methods in `Allow`.";
    BodyTooLarge: "The body is longer than the gateway's limit, 256 KiB unless configured otherwise."
        => "Send a shorter body.";
    UnsupportedMediaType: "`Content-Type` is missing or names no patch format, its charset is not UTF-8, or the body has a `Content-Encoding`."
        => "Send one of the types in `Accept-Patch`, without compression.";
    RequestTimeout: "The body of the request did not arrive in time. Nothing was sent to the vendor."
        => "Send the request again.";
    InvalidPatch: "The body cannot be written to this vendor's conversation. `errors` lists every fault with its pointer. Nothing was sent to the vendor."
        => "Correct the listed members. `Prefer: handling=lenient` leaves out those that the vendor lacks.";
    PreconditionFailed: "The conversation is not the one that `If-Match` names. Its current tag is in `ETag`. Nothing was written."
        => "Read the conversation, decide anew, and send the update with the current tag.";
    PreconditionUnsupported: "This vendor's reads do not show what is written, so the gateway cannot check a condition. Nothing was sent."
        => "Send the update without `If-Match`.";
    ConversationBusy: "Other updates of the same conversation held the turn until the deadline of this one. Nothing was sent."
        => "Wait for the seconds in `Retry-After` and send the same request again.";
    IdempotencyInProgress: "The first request with this `Idempotency-Key` is still running."
        => "Wait for the seconds in `Retry-After` and send the same request with the same key.";
    IdempotencyOutcomeUnknown: "The gateway process that ran the first request with this key ended or froze after it had begun to send. The update may have been applied or not; this answer stays for the key."
        => "Read the conversation. If the update is missing, send it with a new key.";
    IdempotencyKeyReused: "The key was used before for another request. `detail` says what differs."
        => "Use a new key for a new request. Repeat a request byte for byte.";
    IdempotencyStoreUnavailable: "The store of records for keys cannot be reached, or has no room for a new key."
        => "Send the same request with the same key later.";
    CallerRateLimited: "The caller has reached its own limit of requests."
        => "Wait for the seconds in `Retry-After` and send the request again.";
    Overloaded: "The gateway, or its share for this upstream, is at its limit. Nothing was sent to the vendor."
        => "Wait for the seconds in `Retry-After` and send the request again.";
    VendorRejected: "The vendor refused the values that were sent, or answered a success that holds an error. `errors` and `vendor_error` quote what it says."
        => "Correct what the vendor names. If `update_applied` is `unknown`, read the conversation first.";
    VendorPaymentRequired: "The account at the vendor lacks credit or has used its quota."
        => "Tell the operator of the gateway; the account must be paid for or enlarged.";
    VendorForbidden: "The gateway's credential may not touch this conversation."
        => "Check the id. The operator checks what the credential may do.";
    ConversationNotFound: "The vendor has no conversation with this id, or has deleted it."
        => "Check the id and the upstream that it leads to.";
    VendorConflict: "The state of the conversation does not allow the update; for example, it has ended."
        => "Read the conversation, and change what `vendor_error` names.";
    VendorRateLimited: "The vendor accepts no more requests at the moment."
        => "Wait for the seconds in `Retry-After`, or half a minute without it, and send the request again.";
    VendorUnauthenticated: "The vendor, or its token endpoint, refused the gateway's credential; the caller's key is not meant."
        => "Tell the operator of the gateway; nothing that the caller sends will help.";
    VendorUnreachable: "There was no connection to the vendor (`update_applied` is `no`), or it broke before an answer (`unknown`)."
        => "Send the request again later.";
    VendorError: "The vendor failed, and did not say if the update was applied."
        => "Send the request again later.";
    VendorInvalidResponse: "The vendor's answer is not the documented one, is about another conversation, or ended early."
        => "Read the conversation to see what is stored. Tell the operator if it happens again.";
    VendorResponseTooLarge: "The vendor's answer is longer than the gateway's limit, 8 MiB unless configured otherwise."
        => "Read the conversation at the vendor. The operator can raise the limit.";
    VendorUnexpectedStatus: "The vendor answered with a status that it does not document, such as a redirection."
        => "Tell the operator of the gateway: `base_url` may be wrong.";
    VendorUnavailable: "The vendor is out of service, or has failed so often that the gateway does not ask it for a while."
        => "Wait for the seconds in `Retry-After`, or half a minute without it, and send the request again.";
    VendorTimeout: "The vendor did not answer within the deadline of the upstream. `update_applied` says if anything was sent."
        => "Send the request again later.";
    Draining: "The gateway is shutting down and has sent nothing."
        => "Send the request again; another replica, or the restarted gateway, answers.";
    Internal: "The gateway has a defect. Its log says more under the `request_id`."
        => "Read the conversation to see what is stored, and report the defect.";
}

/// Renders a section of Markdown for each code, in the order of their statuses.
pub fn markdown() -> String {
    let mut codes = Code::ALL.to_vec();
    codes.sort_by_key(|code| code.status());
    let sections = codes.into_iter().map(|code| {
        let remedy = of(code);
        format!(
            "### `{}`\n\n{} {}. {} **{}** {}\n\n",
            code.as_str(),
            code.status().as_u16(),
            code.title(),
            remedy.cause,
            if code.retryable() { "Retryable." } else { "Not retryable." },
            remedy.action,
        )
    });
    format!("\n{}", sections.collect::<String>())
}
