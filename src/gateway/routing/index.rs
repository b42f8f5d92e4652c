//! Index of routing rules: finds the first match without testing every rule.
//!
//! Each rule has one key: the rarest of its conditions, which are its headers and the text before the first wildcard of
//! its pattern. A request tests only rules whose key it has. Rules without a header whose pattern begins with a wildcard
//! are tested for every request.

use std::collections::HashMap;

use http::{HeaderMap, HeaderName, HeaderValue};

use crate::settings::Route;

/// Positions of rules in the configuration, ascending.
type Rules = Vec<usize>;

/// Rules by key.
#[derive(Debug, Default)]
pub(super) struct Index {
    by_header: HashMap<HeaderName, HashMap<HeaderValue, Rules>>,
    by_prefix: Prefixes,
}

/// Condition that can be the key of a rule.
#[derive(Debug, Clone, Copy, PartialEq, Eq, Hash)]
enum Key<'a> {
    Header(&'a HeaderName, &'a HeaderValue),
    Prefix(&'a str),
}

impl Index {
    pub(super) fn new(routes: &[Route]) -> Self {
        let mut sharing: HashMap<Key<'_>, usize> = HashMap::new();
        for key in routes.iter().flat_map(keys) {
            *sharing.entry(key).or_default() += 1;
        }
        let mut by_header: HashMap<HeaderName, HashMap<HeaderValue, Rules>> = HashMap::new();
        let mut by_prefix: HashMap<&str, Rules> = HashMap::new();
        for (number, route) in routes.iter().enumerate() {
            let rarest = keys(route).min_by_key(|key| match key {
                Key::Prefix("") => usize::MAX,
                key => sharing.get(key).copied().unwrap_or_default(),
            });
            let rules = match rarest.unwrap_or(Key::Prefix("")) {
                Key::Header(name, value) => {
                    by_header.entry(name.clone()).or_default().entry(value.clone()).or_default()
                }
                Key::Prefix(prefix) => by_prefix.entry(prefix).or_default(),
            };
            rules.push(number);
        }
        Index { by_header, by_prefix: Prefixes::new(by_prefix) }
    }

    /// Position and value of the first matching rule of `routes`, from which the index was built.
    pub(super) fn first<'a>(
        &self,
        routes: &'a [Route],
        id: &str,
        headers: &HeaderMap,
    ) -> Option<(usize, &'a Route)> {
        let mut first = usize::MAX;
        let mut test = |rules: &[usize]| {
            let earlier = rules.iter().take_while(|rule| **rule < first);
            let matching = |rule: &usize| routes.get(*rule).is_some_and(|route| matches(route, id, headers));
            if let Some(found) = earlier.copied().find(matching) {
                first = found;
            }
        };
        if !self.by_header.is_empty() {
            for (name, value) in headers {
                if let Some(rules) = self.by_header.get(name).and_then(|values| values.get(value)) {
                    test(rules);
                }
            }
        }
        self.by_prefix.of(id).for_each(test);
        routes.get(first).map(|route| (first, route))
    }
}

/// All conditions that can be the key of a rule.
fn keys(route: &Route) -> impl Iterator<Item = Key<'_>> {
    let headers = route.headers.iter().map(|(name, value)| Key::Header(name, value));
    headers.chain(route.id.as_ref().map(|glob| Key::Prefix(glob.literal_prefix())))
}

/// True if all conditions of a rule hold.
fn matches(route: &Route, id: &str, headers: &HeaderMap) -> bool {
    route.id.as_ref().is_none_or(|glob| glob.matches(id))
        && route.headers.iter().all(|(name, value)| headers.get_all(name).iter().any(|given| given == value))
}

/// Finds the prefixes of an id among many texts.
#[derive(Debug, Default)]
struct Prefixes(Vec<Prefix>);

/// One text, in sorted order.
#[derive(Debug)]
struct Prefix {
    text: Box<str>,
    /// Position of the longest other text that is a prefix of this one.
    shorter: Option<usize>,
    rules: Rules,
}

impl Prefixes {
    fn new(rules: HashMap<&str, Rules>) -> Self {
        let mut sorted: Vec<(&str, Rules)> = rules.into_iter().collect();
        sorted.sort_unstable_by_key(|(text, _)| *text);
        let mut prefixes = Prefixes::default();
        for (text, rules) in sorted {
            let shorter =
                prefixes.chain(prefixes.0.len().checked_sub(1)).find(|(_, known)| known.is_prefix_of(text));
            let shorter = shorter.map(|(number, _)| number);
            prefixes.0.push(Prefix { text: text.into(), shorter, rules });
        }
        prefixes
    }

    /// Rules of every text that is a prefix of the id.
    ///
    /// In sorted order, all texts between a prefix of the id and the id have that prefix too. The last text that is not
    /// greater than the id therefore leads to all prefixes through `shorter`.
    fn of<'a>(&'a self, id: &'a str) -> impl Iterator<Item = &'a [usize]> {
        let last = self.0.partition_point(|prefix| *prefix.text <= *id).checked_sub(1);
        self.chain(last)
            .filter(|(_, prefix)| prefix.is_prefix_of(id))
            .map(|(_, prefix)| prefix.rules.as_slice())
    }

    /// A text and all its prefixes, longest first.
    fn chain(&self, from: Option<usize>) -> impl Iterator<Item = (usize, &Prefix)> {
        let numbered = |number: usize| self.0.get(number).map(|prefix| (number, prefix));
        let shorter = move |(_, prefix): &(usize, &Prefix)| prefix.shorter.and_then(numbered);
        std::iter::successors(from.and_then(numbered), shorter)
    }
}

impl Prefix {
    fn is_prefix_of(&self, text: &str) -> bool {
        text.starts_with(&*self.text)
    }
}

#[cfg(test)]
mod tests {
    use super::*;
    use crate::settings::Glob;
    use proptest::collection::vec;
    use proptest::prelude::*;

    fn header() -> impl Strategy<Value = (HeaderName, HeaderValue)> {
        let value = prop::sample::select(vec!["a", "b", "A"]).prop_map(HeaderValue::from_static);
        let name = prop::sample::select(vec!["x-tenant", "x-region", "accept"]);
        (name.prop_map(HeaderName::from_static), value)
    }

    fn route() -> impl Strategy<Value = Route> {
        let id = prop::option::of("[abä*?]{0,5}").prop_map(|id| id.map(|pattern| Glob::new(&pattern)));
        (id, vec(header(), 0..3)).prop_map(|(id, headers)| Route { id, headers, upstream: String::new() })
    }

    /// Reference: tests all rules in their order.
    fn slow(routes: &[Route], id: &str, headers: &HeaderMap) -> Option<usize> {
        routes.iter().position(|route| {
            route.id.as_ref().is_none_or(|glob| glob.matches(id))
                && route.headers.iter().all(|(name, value)| headers.get_all(name).iter().any(|v| v == value))
        })
    }

    fn quick(routes: &[Route], id: &str, headers: &HeaderMap) -> Option<usize> {
        Index::new(routes).first(routes, id, headers).map(|(number, _)| number)
    }

    proptest! {
        #![proptest_config(ProptestConfig::with_cases(4096))]

        #[test]
        fn the_first_rule_that_matches_is_found(
            routes in vec(route(), 0..12),
            id in "[abä]{0,6}",
            given in vec(header(), 0..5),
        ) {
            let mut headers = HeaderMap::new();
            for (name, value) in given {
                headers.append(name, value);
            }
            prop_assert_eq!(quick(&routes, &id, &headers), slow(&routes, &id, &headers));
        }

        #[test]
        fn every_text_that_an_id_begins_with_is_found(
            texts in prop::collection::hash_set("[abä]{0,4}", 0..20),
            id in "[abä]{0,6}",
        ) {
            let numbered = texts.iter().enumerate().map(|(number, text)| (text.as_str(), vec![number]));
            let prefixes = Prefixes::new(numbered.collect());
            let mut found: Vec<usize> = prefixes.of(&id).flatten().copied().collect();
            found.sort_unstable();
            let begun = texts.iter().enumerate().filter(|(_, text)| id.starts_with(text.as_str()));
            prop_assert_eq!(found, begun.map(|(number, _)| number).collect::<Vec<_>>());
        }
    }

    fn rule(id: Option<&str>, headers: &[(&'static str, String)]) -> Route {
        let headers = headers.iter().map(|(name, value)| {
            (
                HeaderName::from_static(name),
                HeaderValue::from_str(value).unwrap_or(HeaderValue::from_static("-")),
            )
        });
        Route { id: id.map(Glob::new), headers: headers.collect(), upstream: String::new() }
    }

    #[test]
    fn among_ten_thousand_rules_a_request_looks_at_few() {
        let mut routes = Vec::new();
        for n in 0..2500 {
            // One condition is shared and one is unique, in both positions; some patterns are prefixes of others.
            routes.push(rule(Some("conv_*"), &[("x-tenant", format!("t{n}"))]));
            routes.push(rule(Some(&format!("t{n}_*")), &[("x-region", "eu".to_owned())]));
            routes.push(rule(None, &[("x-region", "eu".to_owned()), ("x-tenant", format!("u{n}"))]));
            routes.push(rule(Some(&format!("exact_{n}")), &[]));
        }
        let index = Index::new(&routes);
        let by_header = index.by_header.values().flat_map(HashMap::values);
        let by_prefix = index.by_prefix.0.iter().map(|prefix| &prefix.rules);
        let files: Vec<usize> = by_header.chain(by_prefix).map(Vec::len).collect();
        assert_eq!(files.iter().sum::<usize>(), routes.len());
        assert_eq!(files.iter().max(), Some(&1));
        assert_eq!(index.by_prefix.of("exact_2499").count(), 4, "exact_2, exact_24, exact_249 and itself");
    }
}
