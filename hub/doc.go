// Package hub downloads models and adapters from a hub that speaks Hugging Face's API, and keeps them in a cache.
//
// Of the API it uses three addresses (https://huggingface.co/docs/hub/api and the client huggingface_hub):
//
//	/api/models/{repo}/revision/{revision}             JSON; "sha" is the commit that a branch or tag stands for
//	/api/models/{repo}/tree/{commit}?recursive=true    JSON; the files with their sizes and checksums, in pages that a
//	                                                   Link header with rel="next" continues
//	/{repo}/resolve/{commit}/{file}                    the file, mostly by a redirect to another host
//
// A file in Git LFS has a SHA-256 in the tree, any other one the SHA-1 of a git blob. No file gets its name in the cache
// before its bytes have that checksum. The access token, or the endpoint's user and password, goes to the endpoint's own host
// and no other.
//
// The cache is laid out as
//
//	{owner}/{name}/{commit}/...           the files, with their paths in the repository
//	{owner}/{name}/{commit}/F.partial     the beginning of a file F that is not there yet
//	{owner}/{name}/{commit}/F.etag        what the server called the version of F that the beginning is of
//	{owner}/{name}/{commit}.json          the manifest, written last: without it the directory does not count
//	.locks/{owner}--{name}                held by whoever changes the repository's part of the cache
package hub
