//! The actor of a journal row.

use serde::{Deserialize, Deserializer, Serialize, Serializer};
use std::fmt;

#[derive(Clone, Debug, PartialEq, Eq)]
pub enum Actor {
    Judge,
    Notifier,
    Resolver,
    Packs,
    /// A holder of the admin token, when the request names nobody.
    Admin,
    Sensor(String),
    /// An enforcement point.
    Point(String),
    Gateway(String),
    /// A name that a person gave, or a word of another version.
    Person(String),
}

impl Actor {
    pub(crate) fn sensor(name: &str) -> Actor {
        Actor::Sensor(name.to_owned())
    }

    pub(crate) fn person(name: &str) -> Actor {
        Actor::Person(name.to_owned())
    }
}

impl From<&str> for Actor {
    fn from(text: &str) -> Actor {
        match text {
            "judge" => Actor::Judge,
            "notifier" => Actor::Notifier,
            "resolver" => Actor::Resolver,
            "packs" => Actor::Packs,
            "admin" => Actor::Admin,
            _ => match text.split_once(':') {
                Some(("sensor", name)) => Actor::Sensor(name.to_owned()),
                Some(("point", name)) => Actor::Point(name.to_owned()),
                Some(("gateway", name)) => Actor::Gateway(name.to_owned()),
                _ => Actor::Person(text.to_owned()),
            },
        }
    }
}

impl fmt::Display for Actor {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        match self {
            Actor::Judge => f.write_str("judge"),
            Actor::Notifier => f.write_str("notifier"),
            Actor::Resolver => f.write_str("resolver"),
            Actor::Packs => f.write_str("packs"),
            Actor::Admin => f.write_str("admin"),
            Actor::Sensor(name) => write!(f, "sensor:{name}"),
            Actor::Point(name) => write!(f, "point:{name}"),
            Actor::Gateway(name) => write!(f, "gateway:{name}"),
            Actor::Person(name) => f.write_str(name),
        }
    }
}

impl Serialize for Actor {
    fn serialize<S: Serializer>(&self, to: S) -> Result<S::Ok, S::Error> {
        to.collect_str(self)
    }
}

impl<'de> Deserialize<'de> for Actor {
    fn deserialize<D: Deserializer<'de>>(from: D) -> Result<Actor, D::Error> {
        Ok(String::deserialize(from)?.as_str().into())
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn an_actor_is_read_as_it_is_stored() {
        for text in ["judge", "notifier", "resolver", "packs", "admin", "sensor:s1", "point:e1", "gateway:g1", "grace", "odd: name"] {
            assert_eq!(Actor::from(text).to_string(), text);
        }
        assert_eq!(Actor::from("sensor:s1"), Actor::sensor("s1"));
        assert_eq!(Actor::from("odd: name"), Actor::person("odd: name"));
    }
}
