//! Times as DOS wrote them: without a zone, in steps of two seconds.

/// Seconds since 1970. Days are those of the years before, of the months before, and of this month, and two-second steps.
pub(super) fn dos_time(date: u16, time: u16) -> i64 {
    let (year, month, day) = (
        1980 + i64::from(date >> 9),
        i64::from(date >> 5 & 15),
        i64::from(date & 31),
    );
    // Years that begin in March have their leap day at the end.
    let (year, month) = if month <= 2 {
        (year - 1, month + 9)
    } else {
        (year, month - 3)
    };
    let days = 365 * year + year / 4 - year / 100 + year / 400 + (153 * month + 2) / 5 + day - 1 - 719_468;
    let (hours, minutes, steps) = (
        i64::from(time >> 11),
        i64::from(time >> 5 & 63),
        i64::from(time & 31),
    );
    ((days * 24 + hours) * 60 + minutes) * 60 + 2 * steps
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn times_are_counted_from_1970() {
        assert_eq!(dos_time(0x21, 0), 315_532_800, "1980-01-01");
        assert_eq!(
            dos_time((44 << 9) | (2 << 5) | 29, (12 << 11) | (34 << 5) | 28),
            1_709_210_096
        );
    }
}
