//! Whatever a value may be, and wherever it is taken.

mod needs_redis {
    use data_encoding::BASE64;

    use crate::keys::Keys;
    use crate::program::{serving_list, serving_stream};

    #[tokio::test(flavor = "multi_thread")]
    async fn empty_binary_and_large_values_are_given_as_they_are() {
        let large = "0123456789abcdef".repeat(1 << 16);
        let values: [&[u8]; 4] = [b"", b"\x00\xff\r\n", "smørebrød".as_bytes(), large.as_bytes()];
        let (list, stream) = (Keys::new(), Keys::new());
        list.push(values);
        for value in values {
            stream.tell(&["XADD", &stream.name, "*", "value"], value);
        }
        let flags = ["--max-value", "2MiB"];
        for ambassador in [serving_list(&list, &flags).await, serving_stream(&stream, &flags).await] {
            let names = ambassador.holds(4).await;
            assert_eq!(ambassador.data(&names[0]).await["value"], "");
            assert_eq!(ambassador.data(&names[1]).await["valueBase64"], BASE64.encode(values[1]));
            assert_eq!(ambassador.data(&names[2]).await["value"], "smørebrød");
            assert_eq!(ambassador.data(&names[3]).await["value"], large);
            for name in names {
                assert_eq!(ambassador.settle(&name).await, Some(204));
            }
            ambassador.is_empty().await;
        }
        list.is_nowhere().await;
    }

    #[tokio::test(flavor = "multi_thread")]
    async fn a_list_is_taken_from_the_end_that_is_said() {
        let keys = Keys::new();
        keys.push(["first", "second", "third"]);
        let ambassador = serving_list(&keys, &["--take", "right", "--window", "2"]).await;
        let names = ambassador.holds(2).await;
        assert_eq!(ambassador.values(&names).await, ["third", "second"]);
    }

    #[tokio::test(flavor = "multi_thread")]
    async fn names_with_spaces_and_braces_and_of_many_bytes_are_keys() {
        for name in ["a {b} c", "{", "Vidéos*?[x]", &"k".repeat(4_000)] {
            let keys = Keys { name: format!("{name}{:016x}", fastrand::u64(..)), ..Keys::new() };
            keys.push(["a"]);
            let ambassador = serving_list(&keys, &[]).await;
            let names = ambassador.holds(1).await;
            assert_eq!(ambassador.settle(&names[0]).await, Some(204));
            ambassador.is_empty().await;
        }
    }

    #[tokio::test(flavor = "multi_thread")]
    async fn what_was_given_is_settled_where_nobody_settles() {
        let (list, stream) = (Keys::new(), Keys::new());
        list.push(["a", "b"]);
        stream.add(&["value", "a"]);
        stream.add(&["value", "b"]);
        for ambassador in
            [serving_list(&list, &["--settle", "on-get"]).await, serving_stream(&stream, &["--settle", "on-get"]).await]
        {
            for name in ambassador.holds(2).await {
                ambassador.data(&name).await;
            }
            ambassador.is_empty().await;
        }
        list.is_nowhere().await;
    }
}
