//! The language against its four examples, and against what people get wrong.
