//! The usual abbreviations of time zones, with all of their meanings.
//!
//! An abbreviation is no name of a zone. `CST` is the standard time of Chicago, of Shanghai and of
//! Havana, and the programs that write it do not say which one they mean.

/// The abbreviations in alphabetical order, each with its offsets from UTC in minutes.
#[rustfmt::skip]
const ABBREVIATIONS: &[(&str, &[i16])] = &[
    ("ACDT", &[630]), ("ACST", &[570]), ("ACT", &[-300, 480]), ("ACWST", &[525]), ("ADT", &[-180]),
    ("AEDT", &[660]), ("AEST", &[600]), ("AFT", &[270]), ("AKDT", &[-480]), ("AKST", &[-540]),
    ("ALMT", &[300, 360]), ("AMST", &[-180]), ("AMT", &[-240, 240]), ("ANAT", &[720]),
    ("AQTT", &[300]), ("ART", &[-180]), ("AST", &[-240, 180]), ("AWST", &[480]), ("AZOST", &[0]),
    ("AZOT", &[-60]), ("AZST", &[300]), ("AZT", &[240]), ("BDT", &[360, 480]), ("BNT", &[480]),
    ("BOT", &[-240]), ("BRST", &[-120]), ("BRT", &[-180]), ("BST", &[60, 360, 660]),
    ("BTT", &[360]), ("CAT", &[120]), ("CCT", &[390]), ("CDT", &[-300, -240, 540]),
    ("CEST", &[120]), ("CET", &[60]), ("CHADT", &[825]), ("CHAST", &[765]), ("CHST", &[600]),
    ("CHUT", &[600]), ("CKT", &[-600]), ("CLST", &[-180]), ("CLT", &[-240]), ("COT", &[-300]),
    ("CST", &[-360, 480, -300, 570, 630]), ("CVT", &[-60]), ("CXT", &[420]), ("DAVT", &[420]),
    ("DDUT", &[600]), ("DFT", &[60]), ("EASST", &[-300]), ("EAST", &[-360]), ("EAT", &[180]),
    ("ECT", &[-300, -240]), ("EDT", &[-240, 660]), ("EEST", &[180]), ("EET", &[120]),
    ("EGST", &[0]), ("EGT", &[-60]), ("EST", &[-300, 600, 660]), ("FET", &[180]), ("FJST", &[780]),
    ("FJT", &[720]), ("FKST", &[-180]), ("FKT", &[-240]), ("FNT", &[-120]), ("GALT", &[-360]),
    ("GAMT", &[-540]), ("GET", &[240]), ("GFT", &[-180]), ("GILT", &[720]), ("GMT", &[0]),
    ("GST", &[240, -120, 600]), ("GYT", &[-240]), ("HADT", &[-540]), ("HAST", &[-600]),
    ("HDT", &[-540]), ("HKT", &[480]), ("HOVT", &[420, 480]), ("HST", &[-600]), ("ICT", &[420]),
    ("IDT", &[180]), ("IOT", &[360]), ("IRDT", &[270]), ("IRKT", &[480]), ("IRST", &[210]),
    ("IST", &[330, 60, 120]), ("JST", &[540]), ("KGT", &[360]), ("KOST", &[660]), ("KRAT", &[420]),
    ("KST", &[540, 510]), ("LHDT", &[660]), ("LHST", &[630]), ("LINT", &[840]), ("MAGT", &[660]),
    ("MART", &[-570]), ("MAWT", &[300]), ("MDT", &[-360]), ("MEST", &[120]), ("MET", &[60]),
    ("MHT", &[720]), ("MMT", &[390]), ("MSD", &[240]), ("MSK", &[180]), ("MST", &[-420, 480, 390]),
    ("MUT", &[240]), ("MVT", &[300]), ("MYT", &[480]), ("NCT", &[660]), ("NDT", &[-150]),
    ("NFDT", &[720]), ("NFT", &[660]), ("NOVT", &[420]), ("NPT", &[345]), ("NRT", &[720]),
    ("NST", &[-210]), ("NUT", &[-660]), ("NZDT", &[780]), ("NZST", &[720]), ("OMST", &[360]),
    ("ORAT", &[300]), ("PDT", &[-420]), ("PET", &[-300]), ("PETT", &[720]), ("PGT", &[600]),
    ("PHOT", &[780]), ("PHST", &[480]), ("PHT", &[480]), ("PKT", &[300]), ("PMDT", &[-120]),
    ("PMST", &[-180]), ("PONT", &[660]), ("PST", &[-480, 480]), ("PWT", &[540]), ("PYST", &[-180]),
    ("PYT", &[-240, -180]), ("QYZT", &[300, 360]), ("RET", &[240]), ("SAKT", &[660]),
    ("SAMT", &[240]), ("SAST", &[120]), ("SBT", &[660]), ("SCT", &[240]), ("SGT", &[480]),
    ("SRET", &[660]), ("SRT", &[-180]), ("SST", &[-660, 480]), ("SYOT", &[180]), ("TAHT", &[-600]),
    ("TFT", &[300]), ("TJT", &[300]), ("TKT", &[780]), ("TLT", &[540]), ("TMT", &[300]),
    ("TOT", &[780]), ("TRT", &[180]), ("TVT", &[720]), ("UCT", &[0]), ("ULAST", &[540]),
    ("ULAT", &[480]), ("UT", &[0]), ("UTC", &[0]), ("UYST", &[-120]), ("UYT", &[-180]),
    ("UZT", &[300]), ("VET", &[-240]), ("VLAT", &[600]), ("VOST", &[420]), ("VUT", &[660]),
    ("WAKT", &[720]), ("WAST", &[120]), ("WAT", &[60]), ("WEST", &[60]), ("WET", &[0]),
    ("WGST", &[-120, -60]), ("WGT", &[-180, -120]), ("WIB", &[420]), ("WIT", &[540]),
    ("WITA", &[480]), ("WST", &[780, 480]), ("YAKT", &[540]), ("YEKT", &[300]),
];

/// Returns the offsets of an abbreviation, in minutes. There are none if it is unknown.
pub(super) fn find_abbreviation(name: &str) -> &'static [i16] {
    let name = name.to_ascii_uppercase();
    let found = ABBREVIATIONS.binary_search_by(|(known, _)| (*known).cmp(name.as_str()));
    found.ok().and_then(|at| ABBREVIATIONS.get(at)).map_or(&[], |(_, offsets)| offsets)
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn the_table_is_sorted_and_its_offsets_exist() {
        assert!(ABBREVIATIONS.is_sorted_by(|(first, _), (second, _)| first < second));
        for (name, offsets) in ABBREVIATIONS {
            assert_eq!(find_abbreviation(&name.to_ascii_lowercase()), *offsets);
            assert!(!offsets.is_empty());
            assert!(offsets.iter().all(|minutes| (-12 * 60..=14 * 60).contains(minutes)), "{name}");
        }
        for unknown in ["", "C", "CSTT", "ABC", "+08"] {
            assert_eq!(find_abbreviation(unknown), [0_i16; 0], "{unknown}");
        }
    }
}
