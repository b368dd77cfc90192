//! Lists that come from outside and may not be longer than they can honestly be: an empty object is two bytes on the wire
//! and hundreds in memory, so a limit in bytes is none. It refuses a longer list at its first entry too many.
use std::fmt;
use std::marker::PhantomData;

use serde::de::{Deserialize, Deserializer, Error, SeqAccess, Visitor};

struct AtMost<T, const MOST: usize>(PhantomData<T>);

impl<'de, T: Deserialize<'de>, const MOST: usize> Visitor<'de> for AtMost<T, MOST> {
    type Value = Vec<T>;

    fn expecting(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        write!(f, "a list of at most {MOST}")
    }

    fn visit_seq<A: SeqAccess<'de>>(self, mut list: A) -> Result<Vec<T>, A::Error> {
        let mut taken = Vec::new();
        while let Some(entry) = list.next_element()? {
            if taken.len() == MOST {
                return Err(A::Error::custom(format_args!("a list of more than {MOST}")));
            }
            taken.push(entry);
        }
        Ok(taken)
    }
}

/// For `#[serde(deserialize_with)]`: a list of at most `MOST`.
pub fn at_most<'de, const MOST: usize, D: Deserializer<'de>, T: Deserialize<'de>>(from: D) -> Result<Vec<T>, D::Error> {
    from.deserialize_seq(AtMost::<T, MOST>(PhantomData))
}

/// The same where there may be none.
pub fn some_at_most<'de, const MOST: usize, D: Deserializer<'de>, T: Deserialize<'de>>(
    from: D,
) -> Result<Option<Vec<T>>, D::Error> {
    struct Some_<T, const MOST: usize>(PhantomData<T>);
    impl<'de, T: Deserialize<'de>, const MOST: usize> Visitor<'de> for Some_<T, MOST> {
        type Value = Option<Vec<T>>;

        fn expecting(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
            write!(f, "a list of at most {MOST}, or nothing")
        }

        fn visit_none<E: Error>(self) -> Result<Self::Value, E> {
            Ok(None)
        }

        fn visit_unit<E: Error>(self) -> Result<Self::Value, E> {
            Ok(None)
        }

        fn visit_some<D: Deserializer<'de>>(self, from: D) -> Result<Self::Value, D::Error> {
            at_most::<MOST, D, T>(from).map(Some)
        }
    }
    from.deserialize_option(Some_::<T, MOST>(PhantomData))
}

#[cfg(test)]
mod tests {
    use serde::Deserialize;

    #[derive(Debug, Default, PartialEq, Deserialize)]
    #[serde(default)]
    struct Box {
        #[serde(deserialize_with = "super::at_most::<3, _, _>")]
        all: Vec<u8>,
        #[serde(deserialize_with = "super::some_at_most::<2, _, _>")]
        some: Option<Vec<u8>>,
    }

    #[test]
    fn longer_lists_are_not_taken() {
        let read = |text| serde_json::from_str::<Box>(text);
        assert_eq!(read("{}").unwrap(), Box::default());
        assert_eq!(
            read(r#"{"all":[1,2,3],"some":[4,5]}"#).unwrap(),
            Box { all: vec![1, 2, 3], some: Some(vec![4, 5]) }
        );
        assert_eq!(read(r#"{"some":null}"#).unwrap().some, None);
        assert!(read(r#"{"all":[1,2,3,4]}"#).unwrap_err().to_string().contains("more than 3"));
        assert!(read(r#"{"some":[1,2,3]}"#).is_err());
    }
}
