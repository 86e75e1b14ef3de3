// A thread of page.html: counts the primes of a range, then waits on a word for a time.
onmessage = event => {
	const [from, to] = event.data;
	let primes = 0;
	candidates: for (let number = Math.max(from, 2); number < to; number++) {
		for (let divisor = 2; divisor * divisor <= number; divisor++)
			if (number % divisor === 0)
				continue candidates;
		primes++;
	}
	// Memory can be shared only where the server says so.
	const word = new Int32Array(new SharedArrayBuffer(4));
	const waited = Atomics.wait(word, 0, 0, 10);
	postMessage(`${primes} primes from ${from}, ${waited}`);
};
