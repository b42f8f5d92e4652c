//! An upstream for any vendor, from its own table.

use http::HeaderValue;
use parlance_adapters::{Origin, SettingPlacement, Spec, VendorEndpoint};

/// An upstream of this name. Settings of the path have the example's value; those that travel as headers are given.
pub(crate) fn upstream(spec: &Spec, name: &str, in_headers: &[(&str, &str)]) -> VendorEndpoint {
    let mut upstream = VendorEndpoint {
        name: name.to_owned(),
        origin: Origin::parse(spec.base_url).expect("a vendor's own base URL is one"),
        settings: Vec::new(),
        headers: Vec::new(),
        allow_vendor_fields: false,
    };
    for setting in spec.settings {
        match setting.place {
            SettingPlacement::Path => {
                let example = spec.example.settings.iter().find(|(key, _)| *key == setting.key);
                let (_, value) = example.expect("the example gives every setting of the path");
                upstream.settings.push((setting.key, (*value).to_owned()));
            }
            SettingPlacement::Header(header) => {
                if let Some((_, value)) = in_headers.iter().find(|(key, _)| *key == setting.key) {
                    let value = HeaderValue::from_str(value).expect("a test's header value is one");
                    upstream.headers.push((http::HeaderName::from_static(header), value));
                }
            }
        }
    }
    upstream
}
