//! Looking into JSON by a pointer without building text on the way: it is done many times for each
//! change of each object.

use serde_json::Value;

/// Reading at a JSON pointer (RFC 6901).
pub trait At {
    /// The value at a pointer; `None` if it is not there.
    fn at(&self, pointer: &str) -> Option<&Value>;
}

impl At for Value {
    fn at(&self, pointer: &str) -> Option<&Value> {
        if pointer.contains('~') {
            return self.pointer(pointer);
        }
        let Some(path) = pointer.strip_prefix('/') else {
            return pointer.is_empty().then_some(self);
        };
        path.split('/').try_fold(self, |value, name| match value {
            Self::Object(map) => map.get(name),
            Self::Array(list) => {
                let plain = name == "0" || !name.starts_with(['0', '+']);
                list.get(name.parse::<usize>().ok().filter(|_| plain)?)
            }
            _ => None,
        })
    }
}

#[cfg(test)]
mod tests {
    use serde_json::json;

    use super::*;

    #[test]
    fn finds_what_a_pointer_finds() {
        let object = json!({ "a": { "b": [1, { "c": null }], "": 2, "x/y": 3, "m~n": 4, "0": 5 } });
        for pointer in [
            "", "/", "a", "/a", "/a/", "/a/b", "/a/b/0", "/a/b/00", "/a/b/+1", "/a/b/1",
            "/a/b/1/c", "/a/b/2", "/a/b/-", "/a/b/0/x", "/a/x~1y", "/a/m~0n", "/a/0", "/b",
        ] {
            assert_eq!(object.at(pointer), object.pointer(pointer), "{pointer}");
        }
    }
}
