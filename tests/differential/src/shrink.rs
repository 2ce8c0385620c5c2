//! Makes a program that shows a difference small: parts of it are left out for as long as what is
//! left shows a difference of the same kind.

use crate::Step;
use std::time::Instant;

/// The smallest program that was found before the deadline. `shows` runs one on servers that know
/// nothing, and tells whether it still shows the difference.
pub fn shrink(
    mut program: Vec<Step>,
    deadline: Instant,
    mut shows: impl FnMut(&[Step]) -> bool,
) -> Vec<Step> {
    let mut width = program.len().div_ceil(2);
    while width > 0 {
        let mut start = 0;
        let mut smaller = false;
        while start < program.len() {
            if Instant::now() > deadline {
                return program;
            }
            let end = (start + width).min(program.len());
            let left: Vec<Step> = [&program[..start], &program[end..]].concat();
            if shows(&left) {
                program = left;
                smaller = true;
            } else {
                start = end;
            }
        }
        if width == 1 && !smaller {
            break;
        }
        width = if width == 1 { 1 } else { width.div_ceil(2) };
    }
    program
}

#[cfg(test)]
mod tests {
    use super::*;
    use std::time::Duration;

    #[test]
    fn what_is_not_needed_goes() {
        let program: Vec<Step> = (0..200).map(Step::Close).collect();
        let deadline = Instant::now() + Duration::from_secs(60);
        let needed = [Step::Close(3), Step::Close(77), Step::Close(199)];
        let shows = |left: &[Step]| needed.iter().all(|step| left.contains(step));
        assert_eq!(shrink(program, deadline, shows), needed);
    }
}
