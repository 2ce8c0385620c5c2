//! The examples of RFC 7541, appendix C, and any blocks cut or wrong.

use super::decode::Decoder;
use super::fields::Fields;
use super::name::Name;
use super::{FIELD_OVERHEAD, Undecodable, encode, huffman, integer};
use proptest::prelude::*;

fn bytes(hex: &str) -> Vec<u8> {
    let digits: Vec<u8> = hex.bytes().filter(u8::is_ascii_hexdigit).collect();
    let pairs = digits.chunks(2).map(|pair| std::str::from_utf8(pair).unwrap());
    pairs.map(|pair| u8::from_str_radix(pair, 16).unwrap()).collect()
}

type Pairs = Vec<(String, String)>;

fn pairs(text: &str) -> Pairs {
    let lines = text.lines().map(str::trim).filter(|line| !line.is_empty());
    let split = lines.map(|line| line.split_once(": ").unwrap());
    split.map(|(name, value)| (name.to_owned(), value.to_owned())).collect()
}

struct Reader {
    decoder: Decoder,
    fields: Fields,
}

impl Reader {
    fn new() -> Self {
        Self { decoder: Decoder::new(&[]), fields: Fields::new(1 << 16) }
    }

    fn decode(&mut self, block: &[u8]) -> Result<Pairs, Undecodable> {
        self.decoder.decode(block, &mut self.fields)?;
        let text = |bytes: &[u8]| String::from_utf8_lossy(bytes).into_owned();
        Ok(self.fields.iter().map(|(_, name, value)| (text(name), text(value))).collect())
    }

    /// Block in, fields out, table afterwards.
    fn check(&mut self, hex: &str, fields: &str, table: &str, size: usize) {
        assert_eq!(self.decode(&bytes(hex)), Ok(pairs(fields)));
        assert_eq!(self.decoder.table().rows(), pairs(table));
        assert_eq!(self.decoder.table().size(), size);
    }
}

#[test]
fn single_fields() {
    // C.2
    let literal = "400a 6375 7374 6f6d 2d6b 6579 0d63 7573 746f 6d2d 6865 6164 6572";
    Reader::new().check(literal, "custom-key: custom-header", "custom-key: custom-header", 55);
    Reader::new().check("040c 2f73 616d 706c 652f 7061 7468", ":path: /sample/path", "", 0);
    Reader::new().check("1008 7061 7373 776f 7264 0673 6563 7265 74", "password: secret", "", 0);
    Reader::new().check("82", ":method: GET", "", 0);
}

const REQUESTS: [&str; 3] = [
    ":method: GET\n:scheme: http\n:path: /\n:authority: www.example.com",
    ":method: GET\n:scheme: http\n:path: /\n:authority: www.example.com\ncache-control: no-cache",
    ":method: GET\n:scheme: https\n:path: /index.html\n:authority: www.example.com\n\
     custom-key: custom-value",
];

const REQUEST_TABLES: [(&str, usize); 3] = [
    (":authority: www.example.com", 57),
    ("cache-control: no-cache\n:authority: www.example.com", 110),
    ("custom-key: custom-value\ncache-control: no-cache\n:authority: www.example.com", 164),
];

#[test]
fn requests_with_and_without_huffman() {
    // C.3 and C.4
    let plain = [
        "8286 8441 0f77 7777 2e65 7861 6d70 6c65 2e63 6f6d",
        "8286 84be 5808 6e6f 2d63 6163 6865",
        "8287 85bf 400a 6375 7374 6f6d 2d6b 6579 0c63 7573 746f 6d2d 7661 6c75 65",
    ];
    let coded = [
        "8286 8441 8cf1 e3c2 e5f2 3a6b a0ab 90f4 ff",
        "8286 84be 5886 a8eb 1064 9cbf",
        "8287 85bf 4088 25a8 49e9 5ba9 7d7f 8925 a849 e95b b8e8 b4bf",
    ];
    for blocks in [plain, coded] {
        let mut reader = Reader::new();
        for (place, block) in blocks.iter().enumerate() {
            let (table, size) = REQUEST_TABLES[place];
            reader.check(block, REQUESTS[place], table, size);
            assert_eq!(reader.fields.malformed(), None);
        }
    }
}

#[test]
fn responses_with_eviction() {
    // C.5 and C.6, whose table has 256 bytes.
    let plain = [
        "4803 3330 3258 0770 7269 7661 7465 611d 4d6f 6e2c 2032 3120 4f63 7420 3230 3133 2032 303a
         3133 3a32 3120 474d 546e 1768 7474 7073 3a2f 2f77 7777 2e65 7861 6d70 6c65 2e63 6f6d",
        "4803 3330 37c1 c0bf",
        "88c1 611d 4d6f 6e2c 2032 3120 4f63 7420 3230 3133 2032 303a 3133 3a32 3220 474d 54c0 5a04
         677a 6970 7738 666f 6f3d 4153 444a 4b48 514b 425a 584f 5157 454f 5049 5541 5851 5745 4f49
         553b 206d 6178 2d61 6765 3d33 3630 303b 2076 6572 7369 6f6e 3d31",
    ];
    let coded = [
        "4882 6402 5885 aec3 771a 4b61 96d0 7abe 9410 54d4 44a8 2005 9504 0b81 66e0 82a6 2d1b ff6e
         919d 29ad 1718 63c7 8f0b 97c8 e9ae 82ae 43d3",
        "4883 640e ffc1 c0bf",
        "88c1 6196 d07a be94 1054 d444 a820 0595 040b 8166 e084 a62d 1bff c05a 839b d9ab 77ad 94e7
         821d d7f2 e6c7 b335 dfdf cd5b 3960 d5af 2708 7f36 72c1 ab27 0fb5 291f 9587 3160 65c0 03ed
         4ee5 b106 3d50 07",
    ];
    let (early, late) =
        ("date: Mon, 21 Oct 2013 20:13:21 GMT", "date: Mon, 21 Oct 2013 20:13:22 GMT");
    let (private, site) = ("cache-control: private", "location: https://www.example.com");
    let cookie = "set-cookie: foo=ASDJKHQKBZXOQWEOPIUAXQWEOIU; max-age=3600; version=1";
    for blocks in [plain, coded] {
        let mut reader = Reader::new();
        reader.decoder.table().resize(256).unwrap();
        reader.check(
            blocks[0],
            &[":status: 302", private, early, site].join("\n"),
            &[site, early, private, ":status: 302"].join("\n"),
            222,
        );
        reader.check(
            blocks[1],
            &[":status: 307", private, early, site].join("\n"),
            &[":status: 307", site, early, private].join("\n"),
            222,
        );
        reader.check(
            blocks[2],
            &[":status: 200", private, late, site, "content-encoding: gzip", cookie].join("\n"),
            &[cookie, "content-encoding: gzip", late].join("\n"),
            215,
        );
    }
}

#[test]
fn sizes_of_the_table_change_where_they_may() {
    let mut reader = Reader::new();
    assert!(reader.decode(&bytes("400161 0162")).is_ok());
    assert_eq!(reader.decode(&bytes("be")), Ok(pairs("a: b")));
    assert!(reader.decode(&bytes("20 3fe11f 82")).is_ok(), "to nothing and back to 4096");
    assert_eq!(reader.decode(&bytes("be")), Err(Undecodable), "the table was emptied");
    assert_eq!(reader.decode(&bytes("3fe21f")), Err(Undecodable), "larger than announced");
    assert_eq!(reader.decode(&bytes("82 20")), Err(Undecodable), "after a field");
}

#[test]
fn blocks_that_mean_nothing_are_refused() {
    for hex in ["80", "bf", "40", "4001", "400161", "40016102", "00", "ff", "ffffffffffff", "0fff"]
    {
        assert_eq!(Reader::new().decode(&bytes(hex)), Err(Undecodable), "{hex}");
    }
}

#[test]
fn fields_beyond_the_limit_are_counted_and_not_kept() {
    let mut reader = Reader::new();
    reader.fields = Fields::new(100);
    // A field of 33 + 32 bytes enters the table, and one byte for each brings it again.
    let mut block = vec![0x40, 1, b'a', 32];
    block.extend_from_slice(&[b'x'; 32]);
    block.extend_from_slice(&[0xbe; 1000]);
    let kept = reader.decode(&block).unwrap();
    assert_eq!(kept.len(), 1);
    assert!(reader.fields.is_too_large());
    assert_eq!(reader.decode(&bytes("be")).unwrap().len(), 1, "the table is as the client's");
}

#[test]
fn names_are_told_apart_once() {
    let mut decoder = Decoder::new(&["token", "authorization"]);
    let mut fields = Fields::new(1 << 16);
    let mut block = vec![0x40];
    for text in ["token", "secret"] {
        integer::encode(0, 7, text.len(), &mut block);
        block.extend_from_slice(text.as_bytes());
    }
    // `authorization` by its static name.
    block.extend_from_slice(&[0x57, 1, b'b']);
    decoder.decode(&block, &mut fields).unwrap();
    for again in [false, true] {
        if again {
            decoder.decode(&[0xbe, 0xbf], &mut fields).unwrap();
        }
        assert_eq!(fields.value(Name::listed(0)), Some(&b"secret"[..]));
        assert_eq!(fields.value(Name::listed(1)), Some(&b"b"[..]));
    }
}

#[test]
fn malformed_requests_are_found() {
    let malformed = |pairs: &[(&str, &str)]| {
        let mut block = Vec::new();
        for (name, value) in pairs {
            encode::field(&mut block, name.as_bytes(), value.as_bytes());
        }
        let mut reader = Reader::new();
        reader.decode(&block).unwrap();
        reader.fields.malformed().is_some()
    };
    assert!(!malformed(&[(":method", "GET"), ("te", "trailers"), ("x", "a\tb")]));
    assert!(malformed(&[("x", "y"), (":method", "GET")]));
    assert!(malformed(&[(":path", "/a"), (":path", "/b")]));
    for (name, value) in [
        (":status", "200"),
        (":unknown", ""),
        ("Upper", ""),
        ("sp ace", ""),
        ("", ""),
        ("te", "gzip"),
        ("connection", "close"),
        ("keep-alive", ""),
        ("proxy-connection", ""),
        ("transfer-encoding", "chunked"),
        ("upgrade", "h2c"),
        ("x", "a\nb"),
        ("x", "a\0b"),
        ("x", "\u{7f}"),
    ] {
        assert!(malformed(&[(name, value)]), "{name}: {value:?}");
    }
}

/// How a test writes a field.
#[derive(Debug, Clone, Copy)]
enum Form {
    Plain,
    Coded,
    Kept,
    KeptCoded,
}

fn write(block: &mut Vec<u8>, form: Form, name: &str, value: &str) {
    block.push(if matches!(form, Form::Kept | Form::KeptCoded) { 0x40 } else { 0 });
    for text in [name, value] {
        if matches!(form, Form::Coded | Form::KeptCoded) {
            let mut coded = Vec::new();
            huffman::encode(text.as_bytes(), &mut coded);
            integer::encode(0x80, 7, coded.len(), block);
            block.extend_from_slice(&coded);
        } else {
            integer::encode(0, 7, text.len(), block);
            block.extend_from_slice(text.as_bytes());
        }
    }
}

fn form() -> impl Strategy<Value = Form> {
    prop::sample::select(vec![Form::Plain, Form::Coded, Form::Kept, Form::KeptCoded])
}

proptest! {
    /// Against a model: the list of what was said to be kept, the newest first.
    #[test]
    fn tables_agree_with_a_model(
        blocks in prop::collection::vec(
            prop::collection::vec((form(), "[a-z]{1,20}", "[ -~]{0,900}", any::<u8>()), 1..8),
            1..12,
        ),
    ) {
        let mut reader = Reader::new();
        let mut model: Vec<(String, String)> = Vec::new();
        for fields in blocks {
            let (mut block, mut wanted) = (Vec::new(), Vec::new());
            for (form, name, value, pick) in fields {
                if pick % 3 == 0 && !model.is_empty() {
                    let place = usize::from(pick) % model.len();
                    integer::encode(0x80, 7, 62 + place, &mut block);
                    wanted.push(model[place].clone());
                    continue;
                }
                write(&mut block, form, &name, &value);
                wanted.push((name.clone(), value.clone()));
                if matches!(form, Form::Kept | Form::KeptCoded) {
                    model.insert(0, (name, value));
                    let size = |rows: &Pairs| -> usize {
                        rows.iter().map(|row| row.0.len() + row.1.len() + FIELD_OVERHEAD).sum()
                    };
                    while size(&model) > 4096 {
                        model.pop();
                    }
                }
            }
            prop_assert_eq!(reader.decode(&block), Ok(wanted));
            prop_assert_eq!(&reader.decoder.table().rows(), &model);
        }
    }

    #[test]
    fn any_bytes_are_decoded_or_refused(
        blocks in prop::collection::vec(prop::collection::vec(any::<u8>(), 0..100), 1..10),
    ) {
        let mut reader = Reader::new();
        for block in blocks {
            if reader.decode(&block).is_err() {
                break;
            }
            prop_assert!(reader.decoder.table().size() <= 4096);
        }
    }
}
