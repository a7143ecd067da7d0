//! Who works at the desk and who writes to it: people of the imaginary tenant.

/// Agents, by first and last name; a large desk combines them anew.
const FIRST: [&str; 40] = [
    "Ayu", "Bima", "Citra", "Dimas", "Eka", "Farah", "Gilang", "Hana", "Indra", "Jasmin", "Kirana", "Lukman",
    "Maya", "Nanda", "Okta", "Putri", "Qori", "Raka", "Sinta", "Tegar", "Umar", "Vina", "Wulan", "Yoga",
    "Zahra", "Arif", "Bunga", "Cahya", "Dewi", "Fajar", "Galuh", "Hendra", "Intan", "Joko", "Laras", "Mira",
    "Nisa", "Panji", "Ratih", "Surya",
];

const LAST: [&str; 25] = [
    "Lestari", "Pratama", "Dewanti", "Adi", "Nugraha", "Santoso", "Permata", "Wijaya", "Halim", "Kusuma",
    "Rahma", "Saputra", "Anggun", "Hidayat", "Melati", "Purnama", "Siregar", "Utami", "Wibowo", "Yulia",
    "Basri", "Cendana", "Firman", "Gunawan", "Hapsari",
];

const CUSTOMERS: [&str; 30] = [
    "Rina", "Budi", "Tono", "Wati", "Agus", "Lia", "Doni", "Sari", "Heru", "Nia", "Ivan", "Tari", "Rudi",
    "Mega", "Ben", "Ani", "Eko", "Fitri", "Gita", "Hasan", "Ika", "Jaya", "Kiki", "Lulu", "Made", "Nino",
    "Oki", "Puja", "Rosa", "Yusuf",
];

/// The agent at `index`; no two of the first thousand are alike.
pub(crate) fn agent(index: usize) -> String {
    let round = index / FIRST.len();
    format!("{} {}", FIRST[index % FIRST.len()], LAST[(index + round) % LAST.len()])
}

/// The customer at `index`.
pub(crate) fn customer(index: usize) -> &'static str {
    CUSTOMERS[index % CUSTOMERS.len()]
}

#[cfg(test)]
mod tests {
    use std::collections::HashSet;

    #[test]
    fn a_thousand_agents_have_a_name_each() {
        let names: HashSet<String> = (0..1_000).map(super::agent).collect();
        assert_eq!(names.len(), 1_000);
    }
}
