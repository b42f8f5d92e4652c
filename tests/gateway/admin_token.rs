//! The admin listener's token.

use testkit::Request;

use crate::setup::with;

#[test]
fn the_tokens_scheme_is_taken_in_any_case() {
    let rig = with("[admin]\nlisten = \"0.0.0.0:0\"\ntoken = { value = \"the-admin-token\" }\n")
        .keeping("the-admin-token");
    let ask =
        |value: &str| rig.ask_admin(&Request::new("GET", "/config").header("Authorization", value)).status;
    for scheme in ["Bearer", "bearer", "BEARER", "bEaReR"] {
        assert_eq!(ask(&format!("{scheme} the-admin-token")), 200, "{scheme}");
        assert_eq!(ask(&format!("{scheme} THE-ADMIN-TOKEN")), 401, "{scheme}");
    }
    for value in ["Bearer", "bearer ", "the-admin-token", "Basic the-admin-token", "Bearerthe-admin-token"] {
        assert_eq!(ask(value), 401, "{value:?}");
    }
    rig.finish();
}
