//! What the retailer sells and where it keeps it. One catalogue, so that shop, warehouse and carrier agree.

/// Something for sale.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub struct Product {
    /// The stock keeping unit, which is also the ERP's material.
    pub sku: &'static str,
    /// What the shop calls it.
    pub title: &'static str,
    /// Its price in euro cents, tax included.
    pub price_cents: u64,
    /// Its shipping weight.
    pub weight_grams: u64,
    /// Units on hand, in the order of [`NODES`].
    pub on_hand: [u64; NODES.len()],
}

/// A place that goods can leave from.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub struct Node {
    /// Its id.
    pub id: &'static str,
    /// What people call it.
    pub name: &'static str,
    /// The country it is in.
    pub country: &'static str,
    /// The carrier that collects there.
    pub carrier: &'static str,
    /// That carrier's price for the first kilogram within the country, in euro cents.
    pub base_cents: u64,
    /// Days to the customer within the country.
    pub days: u64,
}

/// Every node.
pub const NODES: [Node; 4] = [
    Node { id: "store-042", name: "Store 042 Berlin", country: "DE", carrier: "Havelkurier", base_cents: 590, days: 1 },
    Node { id: "store-017", name: "Store 017 Hamburg", country: "DE", carrier: "Nordpaket", base_cents: 520, days: 2 },
    Node {
        id: "dc-leipzig",
        name: "Distribution centre Leipzig",
        country: "DE",
        carrier: "Nordpaket",
        base_cents: 410,
        days: 2,
    },
    Node {
        id: "3pl-venlo",
        name: "Fulfilment partner Venlo",
        country: "NL",
        carrier: "Maasvracht",
        base_cents: 480,
        days: 3,
    },
];

/// Every product.
pub const PRODUCTS: [Product; 6] = [
    Product {
        sku: "TENT-2P-GRN",
        title: "Dune two-person tent, moss green",
        price_cents: 18_900,
        weight_grams: 2_400,
        on_hand: [3, 0, 48, 12],
    },
    Product {
        sku: "STOVE-GAS-01",
        title: "Ember gas stove",
        price_cents: 4_950,
        weight_grams: 380,
        on_hand: [7, 4, 120, 60],
    },
    Product {
        sku: "MUG-ENML-BLU",
        title: "Enamel mug, harbour blue",
        price_cents: 1_290,
        weight_grams: 160,
        on_hand: [25, 31, 400, 0],
    },
    Product {
        sku: "BAG-SLP-M5",
        title: "Fjell sleeping bag, minus five",
        price_cents: 14_900,
        weight_grams: 1_350,
        on_hand: [2, 5, 36, 18],
    },
    Product {
        sku: "EBIKE-CARGO-L",
        title: "Lastesel cargo e-bike, size L",
        price_cents: 324_900,
        weight_grams: 34_000,
        on_hand: [0, 1, 4, 0],
    },
    Product {
        sku: "LOCK-CHAIN-90",
        title: "Chain lock, 90 cm",
        price_cents: 7_900,
        weight_grams: 2_100,
        on_hand: [6, 6, 80, 25],
    },
];

/// The product with this stock keeping unit.
#[must_use]
pub fn product(sku: &str) -> Option<&'static Product> {
    PRODUCTS.iter().find(|product| product.sku == sku)
}

/// Cents as a decimal string: `1290` is `12.90`.
pub(super) fn euros(cents: u64) -> String {
    format!("{}.{:02}", cents / 100, cents % 100)
}
