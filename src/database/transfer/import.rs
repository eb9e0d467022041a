//! Records → documents of a collection.

use std::collections::HashSet;
use std::fs::File;
use std::io::{self, Read, Seek};
use std::path::Path;

use xxhash_rust::xxh3::xxh3_128;

#[cfg(feature = "parquet")]
use super::columns;
use super::jsonl;
use super::record::{Header, Record};
use crate::database::collection::{Added, Collection};
use crate::database::ingest::BatchOptions;
use crate::database::write::Maker;
use crate::database::{CollectionOptions, Database, fits, ready};
use crate::error::{Error, Result};

/// What an import did.
#[derive(Clone, Debug)]
#[non_exhaustive]
pub struct Imported {
    /// The collection that the documents went into.
    pub collection: String,
    /// Did they come with their vectors? Otherwise they were encoded.
    pub vectors: bool,
    /// How many, as [`Collection::ingest`] counts them.
    pub added: Added,
}

/// An export, in either format.
enum Reader<'a> {
    JsonLines(jsonl::Reader<'a>),
    #[cfg(feature = "parquet")]
    Parquet(Box<columns::Reader<'a>>),
}

impl Database {
    /// Adds the documents of a file that [`Collection::export`] wrote, in either format, to the collection of that name, or
    /// of the name in the file. A document whose id is there is replaced, one that is there and equal is left alone.
    ///
    /// With vectors these are stored as they are, passage by passage, and no encoder is needed. They must be of the
    /// collection's encoder; a collection that is absent, or has no vectors yet, takes encoder, metric and dimension from
    /// the file. Without vectors the texts are encoded, as by [`Collection::ingest`].
    ///
    /// The whole file is checked before anything is stored. What
    /// [`Progress::durable_documents`](crate::Progress::durable_documents) counts then survives whatever happens, and the same
    /// call goes on from there.
    ///
    /// # Errors
    /// [`Error::Input`] with the place for a file that is not an export, damaged or cut off; [`Error::EncoderMismatch`],
    /// [`Error::Dimension`], [`Error::Collection`] if the collection holds other vectors; and as [`Collection::ingest`].
    pub fn import(
        &self,
        file: impl AsRef<Path>,
        collection: Option<&str>,
        options: BatchOptions<'_>,
    ) -> Result<Imported> {
        let name = file.as_ref();
        let open = || File::open(name).map_err(Error::io("open", name));
        import(self, &open, name, collection, options)
    }

    /// As [`Database::import`], from a stream, which is copied to a nameless temporary file first.
    ///
    /// # Errors
    /// As [`Database::import`].
    pub fn import_from(
        &self,
        mut stream: impl Read,
        collection: Option<&str>,
        options: BatchOptions<'_>,
    ) -> Result<Imported> {
        let temporary = std::env::temp_dir();
        let mut file =
            tempfile::tempfile().map_err(Error::io("make a temporary file in", &temporary))?;
        io::copy(&mut stream, &mut file).map_err(Error::io(
            "copy the stream to a temporary file in",
            &temporary,
        ))?;
        let open = || {
            let rewound = file
                .try_clone()
                .and_then(|mut file| file.rewind().map(|()| file));
            rewound.map_err(Error::io("read a temporary file in", &temporary))
        };
        import(self, &open, Path::new("stdin"), collection, options)
    }
}

fn import(
    db: &Database,
    open: &dyn Fn() -> Result<File>,
    name: &Path,
    collection: Option<&str>,
    options: BatchOptions<'_>,
) -> Result<Imported> {
    let header = check(open()?, name)?;
    let collection = collection.unwrap_or(&header.collection);
    let collection = target(db, collection, &header)?;
    let (_, mut reader) = Reader::open(open()?, name)?;
    let records = std::iter::from_fn(|| reader.next().transpose());
    let added = if header.vectors {
        match header.dimension {
            Some(dimension) => {
                let maker = Maker {
                    encoder: header.encoder.as_ref(),
                    dimension,
                };
                let mut documents = records.map(|record| record?.into_embedded(&header));
                ready::store(&collection, maker, &mut documents, options)?
            }
            None => Added::default(),
        }
    } else {
        let documents = records.map(|record| record.map(Record::into_document));
        collection.ingest(documents, options)?
    };
    Ok(Imported {
        collection: collection.name().to_owned(),
        vectors: header.vectors,
        added,
    })
}

/// Reads all of the file and keeps nothing but a hash of each id.
fn check(file: File, name: &Path) -> Result<Header> {
    let (header, mut reader) = Reader::open(file, name)?;
    let mut seen = HashSet::new();
    while let Some(record) = reader.next()? {
        let place = reader.place();
        let input = |what: String| Error::Input { place, what };
        if !seen.insert(xxh3_128(record.id.as_bytes())) {
            return Err(input(format!(
                "document {:?} stands twice in the file",
                record.id
            )));
        }
        let checked = if header.vectors {
            record.into_embedded(&header).map(|_| ())
        } else {
            record.into_document().validate()
        };
        checked.map_err(|error| input(error.to_string()))?;
    }
    let (expected, found) = (header.documents, seen.len() as u64);
    if expected != found {
        return Err(Error::Input {
            place: name.display().to_string(),
            what: format!(
                "it holds {found} documents and should hold {expected}: it is cut off or was edited"
            ),
        });
    }
    Ok(header)
}

/// The collection that takes the file's documents, made if absent.
fn target(db: &Database, name: &str, header: &Header) -> Result<Collection> {
    let found = match db.existing_collection(name) {
        Err(Error::NoCollection { .. }) => None,
        found => Some(found?),
    };
    if header.vectors
        && let (Some(found), Some(dimension)) = (&found, header.dimension)
    {
        let snapshot = found.state.snapshot();
        let record = &snapshot.record;
        if record.metric != header.metric {
            return Err(Error::Collection {
                name: name.to_owned(),
                what: format!(
                    "it is under {}, and the file's vectors are under {}",
                    record.metric, header.metric
                ),
            });
        }
        fits(record, header.encoder.as_ref(), dimension)?;
    }
    match found {
        Some(found) => Ok(found),
        None => {
            let mut options = CollectionOptions::default().metric(header.metric);
            if header.encoder.is_none() {
                options.dimension = header.dimension.filter(|_| header.vectors);
            }
            db.create_collection(name, options)
        }
    }
}

impl<'a> Reader<'a> {
    fn open(mut file: File, name: &'a Path) -> Result<(Header, Self)> {
        let mut magic = [0; 4];
        let is_parquet = file.read_exact(&mut magic).is_ok() && magic == *b"PAR1";
        file.rewind().map_err(Error::io("read", name))?;
        if !is_parquet {
            let (header, reader) = jsonl::Reader::open(file, name)?;
            return Ok((header, Self::JsonLines(reader)));
        }
        #[cfg(feature = "parquet")]
        {
            let (header, reader) = columns::Reader::open(file, name)?;
            Ok((header, Self::Parquet(Box::new(reader))))
        }
        #[cfg(not(feature = "parquet"))]
        Err(Error::Input {
            place: name.display().to_string(),
            what: "it is Parquet, which this build does not read; build with feature `parquet`, or export JSON lines".into(),
        })
    }

    fn next(&mut self) -> Result<Option<Record>> {
        match self {
            Self::JsonLines(reader) => reader.next(),
            #[cfg(feature = "parquet")]
            Self::Parquet(reader) => reader.next(),
        }
    }

    /// Where the record stands that was read last.
    fn place(&self) -> String {
        match self {
            Self::JsonLines(reader) => reader.place(),
            #[cfg(feature = "parquet")]
            Self::Parquet(reader) => reader.place(),
        }
    }
}
