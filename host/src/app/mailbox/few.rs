//! Values of which there is mostly one: that one needs no memory of its own.

/// Some values, in the order in which they came.
#[derive(Clone, Debug, PartialEq, Eq)]
pub(super) enum Few<T> {
    One(T),
    Many(Vec<T>),
}

impl<T> Default for Few<T> {
    fn default() -> Self {
        Self::Many(Vec::new())
    }
}

impl<T> From<Vec<T>> for Few<T> {
    fn from(mut values: Vec<T>) -> Self {
        match values.pop() {
            Some(only) if values.is_empty() => Self::One(only),
            last => {
                values.extend(last);
                Self::Many(values)
            }
        }
    }
}

impl<T> Few<T> {
    pub(super) fn as_slice(&self) -> &[T] {
        match self {
            Self::One(only) => std::slice::from_ref(only),
            Self::Many(values) => values,
        }
    }

    pub(super) fn push(&mut self, value: T) {
        *self = match std::mem::take(self) {
            Self::One(first) => Self::Many(vec![first, value]),
            Self::Many(values) if values.is_empty() => Self::One(value),
            Self::Many(mut values) => {
                values.push(value);
                Self::Many(values)
            }
        };
    }

    pub(super) fn retain(&mut self, keep: impl FnMut(&T) -> bool) {
        let mut values = match std::mem::take(self) {
            Self::One(only) => vec![only],
            Self::Many(values) => values,
        };
        values.retain(keep);
        *self = values.into();
    }
}

#[cfg(test)]
mod tests {
    use super::Few;
    use crate::model::id::{RunId, SignalKey};

    #[test]
    fn it_holds_what_a_vector_would() {
        let (mut few, mut vector) = (Few::default(), Vec::new());
        for value in 0..4 {
            few.push(value);
            vector.push(value);
            assert_eq!(few.as_slice(), vector);
            assert_eq!(Few::from(vector.clone()).as_slice(), vector);
        }
        for gone in [1, 3, 0, 2] {
            few.retain(|value| *value != gone);
            vector.retain(|value| *value != gone);
            assert_eq!(few.as_slice(), vector);
        }
        assert_eq!(few, Few::default());
    }

    #[test]
    fn one_takes_little_memory() {
        assert!(size_of::<Few<RunId>>() <= 24);
        assert!(size_of::<Few<SignalKey>>() <= 40);
    }
}
