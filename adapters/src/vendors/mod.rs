//! One file for each vendor, in the same order: documentation and peculiarities, description, adapter, readers.

use crate::adapter::Adapter;

/// Declares the modules and the list of all vendors. rustfmt does not find the modules here: name the files to it.
macro_rules! vendors {
    ($($module:ident::$adapter:ident,)*) => {
        $(mod $module;)*

        /// All vendors, in the order of the documentation.
        pub static ALL: &[&dyn Adapter] = &[$(&$module::$adapter),*];
    };
}

vendors! {
    kakiyo::Kakiyo,
    chatling::Chatling,
    sigmamind::SigmaMind,
    cuadra::Cuadra,
    agentphone::AgentPhone,
}

/// The vendor of a name.
pub fn vendor(name: &str) -> Option<&'static dyn Adapter> {
    ALL.iter().copied().find(|adapter| adapter.spec().vendor == name)
}
