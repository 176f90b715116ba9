//! Enums whose words are stored. A word that an older or newer version wrote, and this one does not know, is kept as it is.

macro_rules! stored_words {
    ($(#[$about:meta])* $vis:vis $name:ident { $($(#[$doc:meta])* $word:ident = $text:literal,)+ }) => {
        $(#[$about])*
        #[derive(Clone, Debug, PartialEq, Eq)]
        $vis enum $name {
            $($(#[$doc])* $word,)+
            /// Of another version.
            Other(String),
        }

        impl $name {
            /// All words of this version.
            #[cfg(test)]
            pub(crate) const ALL: &[$name] = &[$($name::$word,)+];

            $vis fn as_str(&self) -> &str {
                match self {
                    $($name::$word => $text,)+
                    $name::Other(text) => text,
                }
            }
        }

        impl From<String> for $name {
            fn from(text: String) -> $name {
                match text.as_str() {
                    $($text => $name::$word,)+
                    _ => $name::Other(text),
                }
            }
        }

        impl std::fmt::Display for $name {
            fn fmt(&self, f: &mut std::fmt::Formatter<'_>) -> std::fmt::Result {
                f.pad(self.as_str())
            }
        }

        impl serde::Serialize for $name {
            fn serialize<S: serde::Serializer>(&self, to: S) -> Result<S::Ok, S::Error> {
                to.serialize_str(self.as_str())
            }
        }

        impl<'de> serde::Deserialize<'de> for $name {
            fn deserialize<D: serde::Deserializer<'de>>(from: D) -> Result<$name, D::Error> {
                Ok(<String as serde::Deserialize>::deserialize(from)?.into())
            }
        }
    };
}

pub(crate) use stored_words;
