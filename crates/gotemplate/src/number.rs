//! Number literals.

/// A literal and every type that it can be.
#[derive(Clone, Copy, Debug, PartialEq)]
pub(crate) struct Number {
    pub(crate) int: Option<i64>,
    pub(crate) uint: Option<u64>,
    pub(crate) float: Option<f64>,
    /// Written as a floating-point number: that is what it is where nothing else is asked for.
    pub(crate) written_as_float: bool,
}

impl Number {
    /// Reads Go's forms: decimal, `0x`, `0o`, `0b`, a leading zero for octal, underscores, and
    /// decimal floats. No complex numbers, no hexadecimal floats.
    pub(crate) fn read(text: &str) -> Option<Self> {
        let (negative, digits) = match text.as_bytes().first()? {
            b'-' => (true, &text[1..]),
            b'+' => (false, &text[1..]),
            _ => (false, text),
        };
        let magnitude = integer(digits);
        let mut number = Self {
            int: magnitude.and_then(|n| signed(negative, n)),
            uint: magnitude.filter(|n| !negative || *n == 0),
            float: None,
            written_as_float: false,
        };
        if magnitude.is_none() {
            let plain = digits
                .bytes()
                .all(|b| b.is_ascii_digit() || b".eE+-".contains(&b));
            let float: f64 = text.parse().ok().filter(|f: &f64| plain && f.is_finite())?;
            number.float = Some(float);
            number.written_as_float = true;
            // Exact up to here; Go takes such a literal for an integer, too.
            if float.fract() == 0.0 && float.abs() < 9e15 {
                number.int = Some(float as i64);
                number.uint = (float >= 0.0).then_some(float as u64);
            }
        } else {
            number.float = magnitude.map(|n| if negative { -(n as f64) } else { n as f64 });
        }
        Some(number)
    }

    /// Whether it is a whole number that a type can hold.
    pub(crate) fn fits(&self) -> bool {
        self.int.is_some() || self.uint.is_some()
    }

    /// The number of a character constant.
    pub(crate) fn of(character: char) -> Self {
        let code = u32::from(character);
        Self {
            int: Some(code.into()),
            uint: Some(code.into()),
            float: Some(code.into()),
            written_as_float: false,
        }
    }
}

fn signed(negative: bool, magnitude: u64) -> Option<i64> {
    match negative {
        true => 0i64.checked_sub_unsigned(magnitude),
        false => i64::try_from(magnitude).ok(),
    }
}

fn integer(digits: &str) -> Option<u64> {
    let (radix, digits) = match digits.as_bytes() {
        [b'0', b'x' | b'X', ..] => (16, &digits[2..]),
        [b'0', b'o' | b'O', ..] => (8, &digits[2..]),
        [b'0', b'b' | b'B', ..] => (2, &digits[2..]),
        [b'0', _, ..] => (8, &digits[1..]),
        _ => (10, digits),
    };
    // Underscores stand between digits.
    if digits.starts_with('_') && radix == 10 || digits.ends_with('_') || digits.contains("__") {
        return None;
    }
    let plain: String = digits.chars().filter(|c| *c != '_').collect();
    match plain.starts_with(['+', '-']) {
        true => None,
        false => u64::from_str_radix(&plain, radix).ok(),
    }
}
