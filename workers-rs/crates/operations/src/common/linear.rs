//! Small matrices as row-major slices; the shapes are the caller's to keep.

/// `out = a b`, `a` having `inner` columns and `b` as many rows.
pub(crate) fn multiply(a: &[f64], b: &[f64], inner: usize, out: &mut [f64]) {
    let columns = b.len() / inner;
    for (row, out) in a.chunks_exact(inner).zip(out.chunks_exact_mut(columns)) {
        out.fill(0.0);
        for (factor, row) in row.iter().zip(b.chunks_exact(columns)) {
            for (out, number) in out.iter_mut().zip(row) {
                *out += factor * number;
            }
        }
    }
}

/// `out = a bᵀ`, both having `inner` columns.
pub(crate) fn multiply_transposed(a: &[f64], b: &[f64], inner: usize, out: &mut [f64]) {
    let columns = b.len() / inner;
    for (row, out) in a.chunks_exact(inner).zip(out.chunks_exact_mut(columns)) {
        for (out, other) in out.iter_mut().zip(b.chunks_exact(inner)) {
            *out = dot(row, other);
        }
    }
}

/// The sum of products.
pub(crate) fn dot(a: &[f64], b: &[f64]) -> f64 {
    a.iter().zip(b).map(|(one, other)| one * other).sum()
}

/// `a += b`.
pub(crate) fn add(a: &mut [f64], b: &[f64]) {
    for (one, other) in a.iter_mut().zip(b) {
        *one += other;
    }
}

/// Replaces a square matrix by the mean of itself and its transpose.
pub(crate) fn even(matrix: &mut [f64], size: usize) {
    for row in 0..size {
        for column in 0..row {
            let mean = f64::midpoint(matrix[row * size + column], matrix[column * size + row]);
            matrix[row * size + column] = mean;
            matrix[column * size + row] = mean;
        }
    }
}

/// Replaces a symmetric matrix by its lower Cholesky factor, with zeros above it; false when it is not positive
/// definite to double precision.
pub(crate) fn factorize(matrix: &mut [f64], size: usize) -> bool {
    for row in 0..size {
        for column in 0..=row {
            let (above, below) = matrix.split_at_mut(row * size);
            let current = &mut below[..size];
            if column < row {
                let other = &above[column * size..][..size];
                let rest = current[column] - dot(&current[..column], &other[..column]);
                current[column] = rest / other[column];
            } else {
                let pivot = current[row] - dot(&current[..row], &current[..row]);
                let least = size as f64 * f64::EPSILON * current[row];
                // Also false for what is not a number.
                if !(pivot > least && pivot.is_finite()) {
                    return false;
                }
                current[row] = pivot.sqrt();
                current[row + 1..].fill(0.0);
            }
        }
    }
    true
}

/// Solves `factor y = right` in place.
pub(crate) fn solve_lower(factor: &[f64], right: &mut [f64]) {
    let size = right.len();
    for row in 0..size {
        let known = dot(&factor[row * size..][..row], &right[..row]);
        right[row] = (right[row] - known) / factor[row * size + row];
    }
}

/// Solves `factorᵀ y = right` in place.
pub(crate) fn solve_upper(factor: &[f64], right: &mut [f64]) {
    let size = right.len();
    for row in (0..size).rev() {
        let known: f64 = (row + 1..size)
            .map(|below| factor[below * size + row] * right[below])
            .sum();
        right[row] = (right[row] - known) / factor[row * size + row];
    }
}
