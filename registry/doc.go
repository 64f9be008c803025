// Package registry keeps named, versioned objects made of checksummed chunks of bytes in a Badger database.
//
// It knows namespaces (expert sets, routers, checkpoints), names, immutable revisions and chunks; it does not know what
// an adapter is. An object's revision is a [Manifest]: a JSON record by the object's owner (kind, shapes, fingerprints,
// training record) and a list of parts, each a sequence of chunks of at most [MaxChunk] bytes addressed by their
// SHA-256. Revisions that share bytes share chunks.
//
// # Commit
//
// A [Txn] writes an intent, then chunks, syncs them, and publishes manifest and head together in one synced
// transaction. A process that dies before that leaves an intent, and the next [Open] sweeps the chunks nobody names.
// Chunks are rows of the database; a large transaction appends them to a file of its own beside it.
// What Commit acknowledged is there after a crash, and nothing else is.
//
// # Readers
//
// A [Snapshot] sees the registry as it was when it was taken, also while objects are added, rolled back or removed.
//
// # One process
//
// Badger admits one process a directory. A second one gets [ErrLocked] with the number of the process that holds it.
package registry
