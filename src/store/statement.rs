//! Statements of the hot path: a fixed text whose values are arrays, so that one prepared plan serves any number of rows.

/// Defines a statement: its text in pieces, each value between two of them with its SQL type. The type of the struct is its identity,
/// so each connection prepares it once; what is made by `sql_query` would be planned anew for each call.
macro_rules! statement {
    ($(#[$meta:meta])* $name:ident<$life:lifetime> -> $row:ty {
        $head:literal $($field:ident: $rust:ty as $sql:ty, $text:literal)*
    }) => {
        $(#[$meta])*
        struct $name<$life> {
            $($field: $rust,)*
        }

        impl diesel::query_builder::QueryId for $name<'_> {
            type QueryId = $name<'static>;

            const HAS_STATIC_QUERY_ID: bool = true;
        }

        impl diesel::query_builder::QueryFragment<diesel::pg::Pg> for $name<'_> {
            fn walk_ast<'b>(
                &'b self,
                mut out: diesel::query_builder::AstPass<'_, 'b, diesel::pg::Pg>,
            ) -> diesel::QueryResult<()> {
                out.push_sql($head);
                $(
                    out.push_bind_param::<$sql, _>(&self.$field)?;
                    out.push_sql($text);
                )*
                Ok(())
            }
        }

        impl diesel::query_builder::Query for $name<'_> {
            type SqlType = $row;
        }

        impl diesel::RunQueryDsl<diesel::PgConnection> for $name<'_> {}
    };
}

pub(super) use statement;
