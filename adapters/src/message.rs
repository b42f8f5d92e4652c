//! Vendors' texts, as far as they are shown to callers: no markup, no stack trace, no user information of a URL.

/// Elements of HTML pages and fragments that vendors and proxies answer with. A word in angle brackets that is none of
/// these is text, as in `missing <name>`.
const ELEMENTS: [&str; 50] = [
    "a",
    "article",
    "b",
    "big",
    "blockquote",
    "body",
    "br",
    "button",
    "center",
    "code",
    "div",
    "dl",
    "dt",
    "em",
    "font",
    "footer",
    "form",
    "h1",
    "h2",
    "h3",
    "h4",
    "h5",
    "h6",
    "head",
    "header",
    "hr",
    "html",
    "i",
    "iframe",
    "img",
    "input",
    "label",
    "li",
    "link",
    "main",
    "meta",
    "nav",
    "ol",
    "p",
    "pre",
    "script",
    "section",
    "small",
    "span",
    "strong",
    "style",
    "svg",
    "table",
    "title",
    "ul",
];

/// Beginnings of stack traces, in several languages.
const TRACES: [&str; 10] = [
    "Traceback (most recent call last)",
    "Exception in thread ",
    "Stack trace:",
    "Stacktrace:",
    "stack backtrace:",
    "goroutine ",
    "    at ",
    "\tat ",
    "\\tat ",
    "   File \"",
];

/// The text of a body that is not JSON; `None` where the body is no text, or a page.
pub(crate) fn of_body(body: &[u8]) -> Option<&str> {
    let text = match str::from_utf8(body) {
        Ok(text) => text,
        // A body that is cut may end within a character.
        Err(error) if error.error_len().is_none() => str::from_utf8(body.get(..error.valid_up_to())?).ok()?,
        Err(_) => return None,
    };
    let is_binary = |c: char| c == '\u{FFFD}' || (c.is_control() && !matches!(c, '\t' | '\r' | '\n'));
    (!text.contains(is_binary) && !has_markup(text)).then_some(text)
}

/// The part of a text that may be shown.
pub(crate) fn presentable(text: &str) -> Option<String> {
    let end = TRACES.iter().filter_map(|mark| trace(text, mark)).min().unwrap_or(text.len());
    let text = text.get(..end).unwrap_or_default().trim();
    (!text.is_empty() && !has_markup(text)).then(|| without_userinfo(text))
}

/// The place where a trace with this beginning starts.
fn trace(text: &str, mark: &str) -> Option<usize> {
    text.match_indices(mark).map(|(at, _)| at).find(|at| {
        let line = text.get(at + mark.len()..).unwrap_or_default().lines().next().unwrap_or_default();
        match mark.trim_start_matches(['\\', 't', '\t', ' ']) {
            // `at name (file:1:2)`, `at name() in file:line 1`.
            "at " => line.contains('(') || line.contains(".js:") || line.contains(":line "),
            "goroutine " => line.contains("[running]"),
            "File \"" => line.contains("\", line ") || line.contains("\\\", line "),
            _ => true,
        }
    })
}

/// True if a text holds an HTML tag, an end tag of any kind, a comment or a document type.
fn has_markup(text: &str) -> bool {
    text.match_indices('<').any(|(at, _)| {
        let rest = text.get(at + 1..).unwrap_or_default();
        let begins = |text: &str| text.starts_with(|c: char| c.is_ascii_alphabetic());
        if let Some(rest) = rest.strip_prefix('/').or_else(|| rest.strip_prefix("\\/")) {
            return begins(rest);
        }
        if let Some(rest) = rest.strip_prefix(['!', '?']) {
            return begins(rest) || rest.starts_with("--") || rest.starts_with('[');
        }
        let name_end = rest.find(|c: char| !c.is_ascii_alphanumeric()).unwrap_or(rest.len());
        let (name, behind) = rest.split_at(name_end);
        // `a <b and c` is a comparison.
        let ends = behind.starts_with(['>', '/'])
            || (behind.starts_with(char::is_whitespace) && behind.contains('>'));
        ends && ELEMENTS.iter().any(|element| element.eq_ignore_ascii_case(name))
    })
}

/// The text with `***` in place of the user and password of each URL.
fn without_userinfo(text: &str) -> String {
    let mut clean = String::with_capacity(text.len());
    let mut rest = text;
    // In JSON text the slashes may be escaped.
    while let Some(end) =
        ["://", ":\\/\\/"].iter().filter_map(|mark| Some(rest.find(mark)? + mark.len())).min()
    {
        let (scheme, behind) = rest.split_at(end);
        let ends = |c: char| c.is_whitespace() || matches!(c, '/' | '\\' | '?' | '#' | '"' | '<' | '>');
        let authority = behind.split(ends).next().unwrap_or_default();
        clean.push_str(scheme);
        rest = match authority.rfind('@') {
            Some(at) => {
                clean.push_str("***");
                behind.get(at..).unwrap_or_default()
            }
            None => behind,
        };
    }
    clean + rest
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn pages_and_binary_bodies_are_no_text() {
        for body in [
            &b"<!DOCTYPE html><html><body>down</body></html>"[..],
            b"\xEF\xBB\xBF<html>",
            b"<!-- cached --><p>no</p>",
            b"Error 502\n<h1>Bad Gateway</h1>",
            b"down<BR/>again",
            b"see <a href=\"x\">here",
            b"<?xml version=\"1.0\"?>",
            b"<Error><Code>No</Code></Error>",
            b"\x89PNG\r\n\x1a\n",
            b"\x1f\x8b\x08\x00",
            b"\xff\xfeh\x00i\x00",
            b"h\x00i\x00",
            b"caf\xe9 closed",
            "\u{FFFD}".as_bytes(),
        ] {
            assert_eq!(of_body(body), None, "{}", String::from_utf8_lossy(body));
        }
        for text in
            ["a < b and c > d", "a <b and c", "missing <name>", "1<2", "line\r\n\tnext", "<", "<3", "{\"a\":"]
        {
            assert_eq!(of_body(text.as_bytes()), Some(text));
        }
        // Cut within a character.
        assert_eq!(of_body(b"caf\xc3"), Some("caf"));
    }

    #[test]
    fn stack_traces_are_cut_off() {
        for (text, shown) in [
            ("boom\nTraceback (most recent call last):\n  File \"a.py\", line 1", Some("boom")),
            ("Traceback (most recent call last):\n  File", None),
            ("TypeError: x\n    at foo (/srv/app.js:1:2)\n    at bar", Some("TypeError: x")),
            ("TypeError: x    at /srv/app.js:1:2", Some("TypeError: x")),
            ("java.lang.E: no\n\tat com.a.B.c(B.java:12)", Some("java.lang.E: no")),
            ("Exception in thread \"main\" E", None),
            ("PHP says no Stack trace:\n#0 /srv/a.php(3)", Some("PHP says no")),
            ("panic: no\n\ngoroutine 1 [running]:\nmain.main()", Some("panic: no")),
            ("wait until 5 or try    at noon", Some("wait until 5 or try    at noon")),
            ("one goroutine too many", Some("one goroutine too many")),
        ] {
            assert_eq!(presentable(text).as_deref(), shown, "{text}");
        }
    }

    #[test]
    fn userinfo_of_urls_is_masked() {
        for (text, shown) in [
            ("see https://user:pw@host/a?b=c@d", "see https://***@host/a?b=c@d"),
            ("redis://:p@ss@h:1 and http://u@h", "redis://***@h:1 and http://***@h"),
            ("https://host/a@b mail a@b.c", "https://host/a@b mail a@b.c"),
            (r"https:\/\/user:pw@host\/a http://u@h", r"https:\/\/***@host\/a http://***@h"),
            ("a:/b ://", "a:/b ://"),
        ] {
            assert_eq!(presentable(text).as_deref(), Some(shown));
        }
    }
}
