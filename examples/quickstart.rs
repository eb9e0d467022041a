//! The library in one page: open, add, ask, change, delete.
//!
//!     cargo run --release --example quickstart
//!
//! The encoder is fetched on the first run, as `vecdb setup` does.

use vecdb::{Database, Document, Filter};

fn main() -> vecdb::Result<()> {
    vecdb::setup::ensure()?;

    // Made if absent. One process writes at a time; any number may read beside it.
    let path = std::env::temp_dir().join("quickstart.vecdb");
    let database = Database::open(&path)?;
    let notes = database.collection("notes")?;

    // Durable when `add` returns. Adding the same id again replaces the document.
    let added = notes.add([
        Document::new(
            "sled",
            "Sled is an embedded database: a library that keeps keys and values in a folder.",
        )
        .field("lang", "en")
        .field("year", 2018),
        Document::new(
            "hnsw",
            "HNSW finds near neighbours by walking a layered graph.",
        )
        .field("lang", "en")
        .field("year", 2016),
        Document::new("brot", "Ein Sauerteig lebt von wilden Hefen.")
            .field("lang", "de")
            .field("year", 2020),
    ])?;
    println!(
        "{} new, {} updated, {} unchanged",
        added.added, added.updated, added.unchanged
    );

    // A filter can be typed or built.
    println!("\nnearest to 'store data without running a server', in English:");
    for hit in notes
        .query("store data without running a server")
        .filter("lang = 'en'")
        .limit(2)
        .run()?
    {
        println!("  {:.3}  {}  {}", hit.score, hit.id, hit.passage);
    }

    println!("\nnearest to 'finding similar points', from 2016 or before:");
    for hit in notes
        .query("finding similar points")
        .filter(Filter::less_or_equal("year", 2016))
        .run()?
    {
        println!("  {:.3}  {}  {}", hit.score, hit.id, hit.passage);
    }

    notes.delete(["brot"])?;
    println!("\n{} documents in {}", notes.len(), path.display());

    // Dropping would do the same, but could not report an error.
    drop(notes);
    database.close()
}
