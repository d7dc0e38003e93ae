//! Which names a plugin is for, and which it hands on.
use corten_wire::Name;

/// Zones that a plugin answers for.
#[derive(Clone, Debug, Default, PartialEq, Eq)]
pub struct Zones(Vec<Name>);

impl Zones {
    /// These zones.
    pub fn new(zones: Vec<Name>) -> Self {
        Self(zones)
    }

    /// The longest zone that `name` is in.
    pub fn matches(&self, name: &Name) -> Option<&Name> {
        self.0
            .iter()
            .filter(|zone| name.is_in(zone))
            .max_by_key(|zone| zone.label_count())
    }

    /// The zones, in file order.
    pub fn names(&self) -> &[Name] {
        &self.0
    }
}

/// The option `fallthrough [ZONES…]`: which names go to the next plugin when this one has no
/// answer.
#[derive(Clone, Debug, Default, PartialEq, Eq)]
pub enum Fallthrough {
    /// The option is not there: none.
    #[default]
    None,
    /// The option without zones: all.
    All,
    /// Those in these zones.
    Zones(Zones),
}

impl Fallthrough {
    /// Whether `name` goes on.
    pub fn lets_through(&self, name: &Name) -> bool {
        match self {
            Self::None => false,
            Self::All => true,
            Self::Zones(zones) => zones.matches(name).is_some(),
        }
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn the_longest_zone_matches() {
        let name = |text: &str| text.parse::<Name>().unwrap();
        let zones = Zones::new(vec![name("example"), name("b.example"), name("test")]);
        assert_eq!(
            zones.matches(&name("a.b.example")),
            Some(&name("b.example"))
        );
        assert_eq!(zones.matches(&name("xb.example")), Some(&name("example")));
        assert_eq!(zones.matches(&name("org")), None);
        assert!(
            Fallthrough::All.lets_through(&name("org"))
                && !Fallthrough::None.lets_through(&name("org"))
        );
        assert!(!Fallthrough::Zones(zones).lets_through(&name("org")));
    }
}
