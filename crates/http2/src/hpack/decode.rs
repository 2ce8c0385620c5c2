//! Decoding of header blocks (RFC 7541, section 6).

use super::fields::Fields;
use super::name::{Name, is_legal_value};
use super::table::{STATIC_LEN, Table};
use super::{Undecodable, huffman, integer};

/// The decoder of a connection.
#[derive(Debug)]
pub(crate) struct Decoder {
    table: Table,
    /// Names that the user asks for.
    listed: &'static [&'static str],
    /// Texts of the literal that is being read: its name, then its value.
    literal: Vec<u8>,
}

impl Decoder {
    pub(crate) fn new(listed: &'static [&'static str]) -> Self {
        Self { table: Table::new(), listed, literal: Vec::new() }
    }

    /// Decodes a whole block into `fields`, which forget what they had.
    pub(crate) fn decode(
        &mut self,
        mut block: &[u8],
        fields: &mut Fields,
    ) -> Result<(), Undecodable> {
        fields.clear();
        let mut begun = false;
        while let Some((&first, rest)) = block.split_first() {
            block = rest;
            match first {
                0x80.. => {
                    let index = integer::decode(first, 7, &mut block)?;
                    let row = self.table.get(index)?;
                    // The static table does not know what this user lists.
                    let fixed = index <= STATIC_LEN;
                    let name =
                        if fixed { self.relisted(row.name, row.name_text) } else { row.name };
                    fields.push(name, row.legal, row.name_text, row.value);
                }
                0x40.. => self.literal(first, 6, &mut block, fields)?,
                0x20.. if begun => return Err(Undecodable),
                0x20.. => {
                    self.table.resize(integer::decode(first, 5, &mut block)?)?;
                    continue;
                }
                _ => self.literal(first, 4, &mut block, fields)?,
            }
            begun = true;
        }
        Ok(())
    }

    /// A field with its value written out; a prefix of six bits says that it enters the table.
    fn literal(
        &mut self,
        first: u8,
        bits: u32,
        block: &mut &[u8],
        fields: &mut Fields,
    ) -> Result<(), Undecodable> {
        let index = integer::decode(first, bits, block)?;
        self.literal.clear();
        let name = if index == 0 {
            text(block, &mut self.literal)?;
            Name::of(&self.literal, self.listed)
        } else {
            let row = self.table.get(index)?;
            self.literal.extend_from_slice(row.name_text);
            self.relisted(row.name, row.name_text)
        };
        let name_len = self.literal.len();
        text(block, &mut self.literal)?;
        let (name_text, value) = self.literal.split_at(name_len);
        fields.push(name, is_legal_value(value), name_text, value);
        if bits == 6 {
            self.table.insert(name, name_text, value);
        }
        self.literal.shrink_to(LITERAL_KEPT_BYTES_MAX);
        Ok(())
    }

    fn relisted(&self, name: Name, text: &[u8]) -> Name {
        let listed = if name == Name::OTHER { self.listed } else { &[] };
        let place = listed.iter().position(|listed| listed.as_bytes() == text);
        place.map_or(name, Name::listed)
    }

    #[cfg(test)]
    pub(super) fn table(&mut self) -> &mut Table {
        &mut self.table
    }
}

/// Reads a string (section 5.2) and appends it.
fn text(block: &mut &[u8], out: &mut Vec<u8>) -> Result<(), Undecodable> {
    let (&first, rest) = block.split_first().ok_or(Undecodable)?;
    *block = rest;
    let len = integer::decode(first, 7, block)?;
    let (coded, rest) = block.split_at_checked(len).ok_or(Undecodable)?;
    *block = rest;
    if first & 0x80 == 0 {
        out.extend_from_slice(coded);
        return Ok(());
    }
    huffman::decode(coded, out)
}

const LITERAL_KEPT_BYTES_MAX: usize = 4 << 10;
