import { deepStrictEqual as assertEquals } from "node:assert/strict";
import { kindOf, parsePerfReport, sharesOf } from "./perf_report.ts";

const REPORT = `
# Samples: 1K of event 'cpu-clock'
#
 30.00%;[JIT] tid 7;[.] JS:_RNvNtCsffPKnHX5H7n_4ring6cipher4seal-452-turbofan
 10.00%;libc.so.6;[.] __memmove_avx_unaligned_erms
  5.00%;[kernel.kallsyms];[k] _copy_from_iter
  5.00%;[kernel.kallsyms];[k] udp_sendmsg
  4.00%;[JIT] tid 7;[.] JS:_RNvNtCsb7zUS7L5s2H_3tcp8checksum3sum-273-turbofan
  2.00%;[JIT] tid 7;[.] JS:receive-123-turbofan
  2.00%;[JIT] tid 7;[.] JS:_RNvMNtCscWeaI74gzQm_6engine6engineNtB2_6Engine4poll-66-turbofan
  2.00%;deno;[.] v8::internal::Heap::Collect;odd
`;

Deno.test("parsePerfReport reads shares and symbols, and nothing from remarks", () => {
  const samples = parsePerfReport(REPORT);
  assertEquals(samples.length, 8);
  assertEquals(samples[1], {
    percent: 10,
    object: "libc.so.6",
    symbol: "[.] __memmove_avx_unaligned_erms",
  });
  assertEquals(samples[7]?.symbol, "[.] v8::internal::Heap::Collect;odd");
  assertEquals(parsePerfReport(""), []);
});

Deno.test("sharesOf adds up kinds of work to a hundred", () => {
  const shares = Object.entries(sharesOf(parsePerfReport(REPORT)));
  assertEquals(Object.fromEntries(shares.map(([kind, share]) => [kind, share.toFixed(1)])), {
    "encryption": "50.0",
    "TCP": "6.7",
    "WireGuard and the engine": "3.3",
    "JavaScript": "3.3",
    "copies": "25.0",
    "kernel": "8.3",
    "runtime": "3.3",
  });
});

Deno.test("kindOf knows the names of Go as well", () => {
  const kind = (symbol: string): string => kindOf({ percent: 1, object: "", symbol });
  assertEquals(kind("[.] golang.org/x/crypto/chacha20poly1305.chacha20Poly1305Seal"), "encryption");
  assertEquals(kind("[.] gvisor.dev/gvisor/pkg/tcpip/transport/tcp.(*sender).sendData"), "TCP");
  assertEquals(
    kind("[.] golang.zx2c4.com/wireguard/device.(*Peer).RoutineSequentialSender"),
    "WireGuard and the engine",
  );
  assertEquals(kind("[.] runtime.memmove"), "copies");
  assertEquals(kind("[.] runtime.schedule"), "runtime");
});

Deno.test("kindOf knows the native cipher, whose symbols have no names, by its file", () => {
  for (const object of ["aead-x86_64.so", "memfd:moray-aead (deleted)"]) {
    const symbol = "[.] 0x0000000000003439";
    assertEquals(kindOf({ percent: 1, object, symbol }), "encryption");
  }
});
