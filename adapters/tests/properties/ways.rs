//! Places in a tree, and changes to them.

use proptest::prelude::*;
use proptest::sample::Index;

use crate::Decoder;
use crate::made::{name, tree};
use crate::support::Tree;

/// The way to a value: members and items by their position.
pub(crate) type Way = Vec<usize>;

pub(crate) fn ways(tree: &Tree, here: &Way, all: &mut Vec<Way>) {
    let children = match tree {
        Tree::List(items) => items.iter().collect(),
        Tree::Object(members) => members.iter().map(|(_, value)| value).collect(),
        _ => Vec::new(),
    };
    for (at, child) in children.into_iter().enumerate() {
        let way = [here.as_slice(), &[at]].concat();
        all.push(way.clone());
        ways(child, &way, all);
    }
}

pub(crate) fn at<'t>(tree: &'t Tree, way: &[usize]) -> &'t Tree {
    way.iter().fold(tree, |tree, at| match tree {
        Tree::List(items) => &items[*at],
        Tree::Object(members) => &members[*at].1,
        _ => panic!("no such way"),
    })
}

pub(crate) fn at_mut<'t>(tree: &'t mut Tree, way: &[usize]) -> &'t mut Tree {
    way.iter().fold(tree, |tree, at| match tree {
        Tree::List(items) => &mut items[*at],
        Tree::Object(members) => &mut members[*at].1,
        _ => panic!("no such way"),
    })
}

pub(crate) fn remove(tree: &mut Tree, way: &[usize]) {
    let (last, parent) = way.split_last().unwrap();
    match at_mut(tree, parent) {
        Tree::List(items) => drop(items.remove(*last)),
        Tree::Object(members) => drop(members.remove(*last)),
        _ => panic!("no such way"),
    }
}

/// The way to the object that is the conversation: in the vendor's envelope, if its sample has one, else the whole.
pub(crate) fn conversation(decoder: &Decoder, tree: &Tree) -> Way {
    let sample = decoder.sample();
    let Some(Tree::Object(_)) = sample.get("data").filter(|_| sample.get("messages").is_none()) else {
        return Vec::new();
    };
    let Tree::Object(members) = tree else { panic!("an envelope") };
    vec![members.iter().position(|(name, _)| name == "data").expect("an envelope")]
}

/// A change to a reply that leaves the conversation where it is.
#[derive(Debug, Clone)]
pub(crate) enum Change {
    Remove(Index),
    Set(Index, Tree),
    Add(Index, String, Tree),
}

pub(crate) fn change(decoder: &Decoder, tree: &mut Tree, change: &Change) {
    let base = conversation(decoder, tree);
    let mut inside = Vec::new();
    ways(at(tree, &base), &base, &mut inside);
    match change {
        Change::Remove(index) if !inside.is_empty() => {
            let way = inside[index.index(inside.len())].clone();
            remove(tree, &way);
        }
        Change::Set(index, value) if !inside.is_empty() => {
            let way = inside[index.index(inside.len())].clone();
            *at_mut(tree, &way) = value.clone();
        }
        Change::Add(index, name, value) => {
            let mut objects = vec![Vec::new(), base];
            objects.extend(inside.into_iter().filter(|way| matches!(at(tree, way), Tree::Object(_))));
            if let Tree::Object(members) = at_mut(tree, &objects[index.index(objects.len())])
                && !members.iter().any(|(other, _)| other == name)
            {
                members.push((name.clone(), value.clone()));
            }
        }
        Change::Remove(_) | Change::Set(..) => {}
    }
}

pub(crate) fn changes() -> impl Strategy<Value = Vec<Change>> {
    let change = prop_oneof![
        1 => any::<Index>().prop_map(Change::Remove),
        2 => (any::<Index>(), tree()).prop_map(|(at, value)| Change::Set(at, value)),
        2 => (any::<Index>(), name(), tree()).prop_map(|(at, name, value)| Change::Add(at, name, value)),
    ];
    prop::collection::vec(change, 0..7)
}
