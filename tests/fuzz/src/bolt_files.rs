//! Database files of any bytes, or of any pages behind right meta pages.
//!
//! A walk ends, and what passes the whole check is written again by our writer with the same
//! content.

use crate::input::Input;
use bolt::{Emit, Limits, PageBytes, Reader, Source, write_image};

/// Pages of the files that are built.
const PAGE_BYTES: u32 = 1024;

pub(crate) fn run(data: &[u8]) {
    let mut input = Input::new(data);
    let file = if input.byte().is_multiple_of(2) { input.rest().to_vec() } else { build(input) };
    let limits = Limits { page_bytes_max: 1 << 20 };
    let Ok(reader) = Reader::open_with(&file[..], limits) else { return };
    let checked = reader.check();
    let Ok(content) = read(&reader) else {
        assert!(checked.is_err(), "the check is no milder than a walk");
        return;
    };
    if checked.is_err() {
        return;
    }
    let mut image = Vec::new();
    let page_bytes = PageBytes::new(reader.page_bytes()).expect("the reader took this size");
    let mut source = Content(content);
    if write_image(&mut source, page_bytes, &mut image).is_ok() {
        let again = Reader::open(&image[..]).expect("what we wrote opens");
        again.check().expect("and is sound");
        assert_eq!(read(&again).expect("and is read"), source.0);
    }
}

type Items = Vec<(Vec<u8>, Vec<u8>)>;

fn read(reader: &Reader<&[u8]>) -> bolt::Result<Vec<(Vec<u8>, Items)>> {
    let mut content = Vec::new();
    for bucket in reader.buckets()? {
        let bucket = bucket?;
        let name = bucket.name().to_vec();
        let mut cursor = bucket.cursor()?;
        let mut items = Vec::new();
        while let Some((key, value)) = cursor.next_item()? {
            items.push((key.to_vec(), value.to_vec()));
        }
        content.push((name, items));
    }
    Ok(content)
}

/// What was read, to be written.
struct Content(Vec<(Vec<u8>, Items)>);

impl Source for Content {
    fn buckets(&mut self) -> bolt::Result<Vec<Vec<u8>>> {
        Ok(self.0.iter().map(|(name, _)| name.clone()).collect())
    }

    fn visit(&mut self, bucket: &[u8], emit: &mut Emit<'_>) -> bolt::Result<()> {
        let items = self.0.iter().filter(|(name, _)| name == bucket).flat_map(|(_, items)| items);
        items.into_iter().try_for_each(|(key, value)| emit(key, value))
    }
}

/// A file of pages of the input, each with its right number, behind a right meta page.
fn build(mut input: Input<'_>) -> Vec<u8> {
    let pages = u64::from(input.byte() % 8) + 1;
    let mark = 2 + pages;
    let root = 2 + u64::from(input.byte()) % pages;
    let mut file = Vec::new();
    for id in 0..2_u64 {
        let mut meta = Vec::new();
        meta.extend_from_slice(&0xED0C_DAED_u32.to_le_bytes());
        meta.extend_from_slice(&2_u32.to_le_bytes());
        meta.extend_from_slice(&PAGE_BYTES.to_le_bytes());
        meta.extend_from_slice(&0_u32.to_le_bytes());
        for number in [root, 0, u64::MAX, mark, id] {
            meta.extend_from_slice(&number.to_le_bytes());
        }
        meta.extend_from_slice(&fnv1a(&meta).to_le_bytes());
        push_page(&mut file, id, 4, &meta);
    }
    let (mut rest, page_bytes) = (input.rest(), PAGE_BYTES as usize - 8);
    for id in 2..mark {
        let (page, behind) = rest.split_at(rest.len().min(page_bytes));
        rest = behind;
        let at = file.len();
        file.extend_from_slice(&id.to_le_bytes());
        file.extend_from_slice(page);
        file.resize(at + PAGE_BYTES as usize, 0);
    }
    file
}

fn push_page(file: &mut Vec<u8>, id: u64, flags: u16, content: &[u8]) {
    let at = file.len();
    file.extend_from_slice(&id.to_le_bytes());
    file.extend_from_slice(&flags.to_le_bytes());
    file.extend_from_slice(&[0; 6]);
    file.extend_from_slice(content);
    file.resize(at + PAGE_BYTES as usize, 0);
}

fn fnv1a(bytes: &[u8]) -> u64 {
    bytes.iter().fold(0xcbf2_9ce4_8422_2325, |hash, byte| {
        (hash ^ u64::from(*byte)).wrapping_mul(0x0100_0000_01b3)
    })
}
