//! An upstream for any vendor, from its own table.

use http::HeaderValue;
use parlance_adapters::{Origin, Place, Spec, Upstream};

/// The usual value of a setting that stands in the path.
const IN_PATH: &str = "9761342719";

/// An upstream of this name. Settings of the path have their usual value; those that travel as headers are given.
pub(crate) fn upstream(spec: &Spec, name: &str, in_headers: &[(&str, &str)]) -> Upstream {
    let mut upstream = Upstream {
        name: name.to_owned(),
        origin: Origin::parse(spec.base_url).expect("a vendor's own base URL is one"),
        settings: Vec::new(),
        headers: Vec::new(),
        allow_vendor_fields: false,
    };
    for setting in spec.settings {
        match setting.place {
            Place::Path => upstream.settings.push((setting.key, IN_PATH.to_owned())),
            Place::Header(header) => {
                if let Some((_, value)) = in_headers.iter().find(|(key, _)| *key == setting.key) {
                    let value = HeaderValue::from_str(value).expect("a test's header value is one");
                    upstream.headers.push((http::HeaderName::from_static(header), value));
                }
            }
        }
    }
    upstream
}
