//! Which database and which collection is meant.

use std::path::Path;

use vecdb::encoder::{Encoder, EncoderOptions};
use vecdb::{Collection, Database, DatabaseOptions};

use crate::args::{DEFAULT_COLLECTION, Global};
use crate::failure::Failure;

impl Global {
    /// The database's folder.
    ///
    /// # Errors
    /// Where neither `--db` nor `VECDB_DB` names one. There is no default: a database that is made wherever the shell
    /// happens to stand is not found again.
    pub fn database_path(&self) -> Result<&Path, Failure> {
        self.db.as_deref().ok_or_else(|| {
            Failure::Usage("which database? name its folder with --db DIR, or set VECDB_DB".into())
        })
    }

    /// The collection's name.
    pub fn collection_name(&self) -> &str {
        self.collection.as_deref().unwrap_or(DEFAULT_COLLECTION)
    }

    /// The options that were typed.
    pub fn options(&self) -> DatabaseOptions {
        Database::options().encoder(self.encoder_options())
    }

    /// Those of the encoder.
    pub fn encoder_options(&self) -> EncoderOptions {
        EncoderOptions {
            model: self.model.clone(),
            runtime: self.runtime.clone(),
            device: self.device,
            device_id: self.device_id,
            device_memory: self.device_memory,
            precision: self.precision,
            max_tokens: self.max_tokens,
            overlap: self.overlap,
            dimension: self.dimension,
            ..EncoderOptions::default()
        }
    }

    /// Those of the encoder that answers for a collection: the one that was asked for, or that is kept with it.
    pub fn encoder_options_for(&self, collection: &Collection) -> vecdb::Result<EncoderOptions> {
        let mut options = self.encoder_options();
        if options.model.is_none() {
            options.model = collection.kept_model()?;
        }
        Ok(options)
    }

    /// The encoder that was asked for.
    pub fn encoder(&self) -> Result<Encoder, Failure> {
        Ok(Encoder::open(&self.encoder_options())?)
    }

    /// Opens the database for commands that change nothing. Never makes one, and does not wait for a writer.
    pub fn open_for_reading(&self) -> Result<Database, Failure> {
        let path = self.database_path()?;
        Ok(self.options().must_exist().for_reading().open(path)?)
    }

    /// The collection, for commands that change nothing.
    pub fn collection_for_reading(&self) -> Result<Collection, Failure> {
        Ok(self
            .open_for_reading()?
            .existing_collection(self.collection_name())?)
    }

    /// Opens a database that exists, to change it.
    pub fn open_for_writing(&self) -> Result<Database, Failure> {
        let path = self.database_path()?;
        Ok(self.options().must_exist().open(path)?)
    }
}
