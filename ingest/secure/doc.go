// Package secure is the agent channel's wire format as a pure codec: frames,
// keys, ciphers, compression, checksums, counters, keepalives and event texts.
// It opens no sockets and reads no clocks.
//
// A unit travels as a 4-byte little-endian length and that many bytes:
//
//	unit    = [ "!" id "!" ] tag ciphertext
//	plain   = 1*"!" zlib(checksum random global ":" local ":" payload)
//
// Every length is checked before anything is allocated, and inflation stops at
// 65,536 bytes, even if the stream claims more.
//
// Source: docs/agent-protocol (spec/agent-protocol.md) §1 to §10; vectors in
// testdata/vectors.json.
package secure
